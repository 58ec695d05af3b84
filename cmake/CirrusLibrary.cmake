# cirrus_library, cirrus_program, cirrus_test. SPDX-License-Identifier: MIT
include(GoogleTest)

# cirrus_library(name SRCS a.cc… [DEPS lib…] [PRIVATE_DEPS lib…] [TESTS a_test.cc…]
#                [TEST_DEPS lib…] [TEST_LABELS label…])
# One static library per folder, with its unit tests beside it in `<name>_test`. DEPS are public
# because a header may need them; PRIVATE_DEPS only the .cc files need.
function(cirrus_library name)
  cmake_parse_arguments(ARG "" "" "SRCS;DEPS;PRIVATE_DEPS;TESTS;TEST_DEPS;TEST_LABELS" ${ARGN})
  add_library(${name} STATIC ${ARG_SRCS})
  target_link_libraries(${name} PUBLIC ${ARG_DEPS} PRIVATE cirrus_flags ${ARG_PRIVATE_DEPS})
  target_include_directories(${name} PUBLIC ${CMAKE_SOURCE_DIR}/src)
  if(ARG_TESTS AND NOT CIRRUS_AGENT_ONLY)
    cirrus_test(${name}_test SRCS ${ARG_TESTS} DEPS ${name} ${ARG_TEST_DEPS}
      LABELS unit ${ARG_TEST_LABELS})
  endif()
endfunction()

# cirrus_program(name SRCS … DEPS …): a dynamically linked program.
function(cirrus_program name)
  cmake_parse_arguments(ARG "" "" "SRCS;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SRCS})
  target_link_libraries(${name} PRIVATE cirrus_flags ${ARG_DEPS})
  if(CIRRUS_MOLD)
    target_link_options(${name} PRIVATE -fuse-ld=mold)
  endif()
endfunction()

# cirrus_test(name SRCS … DEPS … LABELS …): one gtest executable, each case its own ctest entry.
function(cirrus_test name)
  cmake_parse_arguments(ARG "" "" "SRCS;DEPS;LABELS" ${ARGN})
  cirrus_program(${name} SRCS ${ARG_SRCS} DEPS ${ARG_DEPS} GTest::gtest GTest::gmock GTest::gtest_main)
  target_compile_definitions(${name} PRIVATE
    CIRRUS_SOURCE_DIR="${CMAKE_SOURCE_DIR}" CIRRUS_BINARY_DIR="${CMAKE_BINARY_DIR}")
  gtest_discover_tests(${name} DISCOVERY_MODE PRE_TEST
    WORKING_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR}
    PROPERTIES LABELS "${ARG_LABELS}" TIMEOUT 120)
endfunction()
