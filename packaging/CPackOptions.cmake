# Read by cpack for each generator. SPDX-License-Identifier: MIT
if(CPACK_GENERATOR STREQUAL "DEB")
  # One package of both parts; the tarball is the plain install.
  set(CPACK_INSTALL_CMAKE_PROJECTS
    "${CPACK_CMAKE_BINARY_DIR};cirrus;Unspecified;/" "${CPACK_CMAKE_BINARY_DIR};cirrus;debian;/")
  set(CPACK_SET_DESTDIR ON)
  set(CPACK_INSTALL_PREFIX /usr)
else()
  set(CPACK_PACKAGING_INSTALL_PREFIX "")  # bin/ and lib/, to be put anywhere
endif()
