# Third-party packages, each as one SYSTEM target. SPDX-License-Identifier: MIT
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(Protobuf REQUIRED)

pkg_check_modules(FMT REQUIRED fmt)
# Header-only fmt: the agent is static and the archive is not packaged.
add_library(cirrus_fmt INTERFACE)
target_compile_definitions(cirrus_fmt INTERFACE FMT_HEADER_ONLY=1)
target_include_directories(cirrus_fmt SYSTEM INTERFACE ${FMT_INCLUDE_DIRS})

# By name, not by path: a static link takes the archives, every other link the shared libraries.
add_library(cirrus_protobuf INTERFACE)
target_include_directories(cirrus_protobuf SYSTEM INTERFACE ${Protobuf_INCLUDE_DIRS})
target_link_libraries(cirrus_protobuf INTERFACE protobuf Threads::Threads)

pkg_check_modules(GRPCPP REQUIRED grpc++)
add_library(cirrus_grpcpp INTERFACE)
target_include_directories(cirrus_grpcpp SYSTEM INTERFACE ${GRPCPP_INCLUDE_DIRS})
target_link_libraries(cirrus_grpcpp INTERFACE grpc++ grpc gpr protobuf absl_synchronization)

# What the shared libraries bring along by themselves, for the static agent.
add_library(cirrus_grpcpp_static INTERFACE)
list(REMOVE_DUPLICATES GRPCPP_STATIC_LIBRARIES)
target_link_libraries(cirrus_grpcpp_static INTERFACE
  -Wl,--start-group grpc++ grpc gpr protobuf ${GRPCPP_STATIC_LIBRARIES} -Wl,--end-group)

find_program(CIRRUS_PROTOC protoc REQUIRED)
find_program(CIRRUS_GRPC_PLUGIN grpc_cpp_plugin REQUIRED)

if(NOT CIRRUS_AGENT_ONLY)
  find_package(GTest REQUIRED)
  find_package(OpenSSL REQUIRED)
  pkg_check_modules(SQLITE REQUIRED IMPORTED_TARGET sqlite3)
  pkg_check_modules(CURL REQUIRED IMPORTED_TARGET libcurl)
  pkg_check_modules(LIBSSH REQUIRED IMPORTED_TARGET libssh)
  pkg_check_modules(YAML REQUIRED IMPORTED_TARGET yaml-0.1)
  pkg_check_modules(RE2 REQUIRED IMPORTED_TARGET re2)
  pkg_check_modules(SODIUM REQUIRED IMPORTED_TARGET libsodium)
  pkg_check_modules(SPDLOG REQUIRED spdlog)
  pkg_check_modules(PROMETHEUS REQUIRED IMPORTED_TARGET prometheus-cpp-core)
endif()
