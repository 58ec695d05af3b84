# Compiler flags and build options shared by every target. SPDX-License-Identifier: MIT
option(CIRRUS_BENCH "Build the benchmark programs" OFF)
option(CIRRUS_FUZZ "Build the fuzz targets (clang only)" OFF)
option(CIRRUS_AGENT_ONLY "Build only the static agent (cross builds)" OFF)
option(CIRRUS_COVERAGE "Instrument for gcov" OFF)
set(CIRRUS_SANITIZE "" CACHE STRING "Comma list for -fsanitize, empty for none")

add_library(cirrus_flags INTERFACE)
target_compile_options(cirrus_flags INTERFACE
  -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wnon-virtual-dtor -Werror)
target_include_directories(cirrus_flags INTERFACE ${CMAKE_SOURCE_DIR}/src)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # GCC 12 reports the library's own stop_source and optional as uninitialised when inlined.
  target_compile_options(cirrus_flags INTERFACE -Wno-maybe-uninitialized)
endif()

if(CIRRUS_SANITIZE)
  add_compile_options(-fsanitize=${CIRRUS_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${CIRRUS_SANITIZE})
endif()
if(CIRRUS_COVERAGE)
  add_compile_options(--coverage)
  add_link_options(--coverage)
endif()

find_program(CIRRUS_CCACHE ccache)
if(CIRRUS_CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER
    ${CMAKE_COMMAND} -E env CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} CCACHE_NOHASHDIR=1
    CCACHE_SLOPPINESS=pch_defines,time_macros ${CIRRUS_CCACHE})
endif()

# mold links in a tenth of the time; GCC 12 knows it by name. Static links stay with the
# default linker, which the packaged archives were tested with.
find_program(CIRRUS_MOLD mold)
