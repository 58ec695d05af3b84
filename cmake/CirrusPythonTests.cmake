# cirrus_python_tests(prefix): every test method of the test_*.py of this folder as one ctest entry
# `<prefix>.<file>.<class>.<method>`, so that they run in parallel and fail alone.
# SPDX-License-Identifier: MIT
function(cirrus_python_tests prefix)
  find_package(Python3 REQUIRED COMPONENTS Interpreter)
  file(GLOB files CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/test_*.py)
  foreach(file ${files})
    get_filename_component(module ${file} NAME_WE)
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${file})
    file(STRINGS ${file} lines REGEX "^class |^    def test_")
    foreach(line ${lines})
      if(line MATCHES "^class ([A-Za-z0-9_]+)")
        set(class ${CMAKE_MATCH_1})
      elseif(line MATCHES "def (test_[A-Za-z0-9_]+)")
        set(name ${module}.${class}.${CMAKE_MATCH_1})
        add_test(NAME ${prefix}.${name}
          COMMAND ${Python3_EXECUTABLE} -m unittest ${name}
          WORKING_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR})
        set(labels ${prefix})
        if(module MATCHES "qemu")
          list(APPEND labels qemu)
        endif()
        set_tests_properties(${prefix}.${name} PROPERTIES LABELS "${labels}" TIMEOUT 240
          ENVIRONMENT "CIRRUS_PROGRAM=$<TARGET_FILE:cirrus>;CIRRUS_TEST_PROGRAM=$<TARGET_FILE:cirrus-test>;PYTHONPATH=${CMAKE_SOURCE_DIR}/tests/e2e;PYTHONDONTWRITEBYTECODE=1")
      endif()
    endforeach()
  endforeach()
endfunction()
