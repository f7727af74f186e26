# `cmake --install`: headers, libraries, pkg-config file, CMake package.
# The headers go into a folder of their own (windows.h and ntddk.h must not end up in /usr/include).
include(CMakePackageConfigHelpers)

set(installed_libraries ntmm_static)
set_target_properties(ntmm_static PROPERTIES EXPORT_NAME static)
if(TARGET ntmm_shared)
  set_target_properties(ntmm_shared PROPERTIES EXPORT_NAME ntmm)
  list(APPEND installed_libraries ntmm_shared)
endif()
install(TARGETS ${installed_libraries} EXPORT ntmmTargets
  LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}" ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}")
install(EXPORT ntmmTargets NAMESPACE ntmm:: DESTINATION "${CMAKE_INSTALL_LIBDIR}/cmake/ntmm")
if(EXISTS "${PROJECT_SOURCE_DIR}/include")
  install(DIRECTORY include/ DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}/ntmm" FILES_MATCHING PATTERN "*.h" PATTERN "*.def")
endif()
install(FILES LICENSE DESTINATION "${CMAKE_INSTALL_DOCDIR}")

configure_package_config_file(cmake/ntmmConfig.cmake.in "${PROJECT_BINARY_DIR}/ntmmConfig.cmake"
  INSTALL_DESTINATION "${CMAKE_INSTALL_LIBDIR}/cmake/ntmm")
write_basic_package_version_file("${PROJECT_BINARY_DIR}/ntmmConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/ntmmConfig.cmake" "${PROJECT_BINARY_DIR}/ntmmConfigVersion.cmake"
  DESTINATION "${CMAKE_INSTALL_LIBDIR}/cmake/ntmm")

# The file finds its prefix from where it lies, so it is right for every `cmake --install build --prefix X`.
set(NTMM_PC_LIBS_PRIVATE "-pthread")
set(NTMM_PC_REQUIRES_PRIVATE "")
if(NTMM_LIBURING_FOUND)
  list(APPEND NTMM_PC_REQUIRES_PRIVATE liburing)
endif()
if(NTMM_LIBCRYPTO_FOUND)
  list(APPEND NTMM_PC_REQUIRES_PRIVATE libcrypto)
endif()
list(JOIN NTMM_PC_REQUIRES_PRIVATE ", " NTMM_PC_REQUIRES_PRIVATE)
file(RELATIVE_PATH NTMM_PC_UP "/prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig" /prefix)
string(REGEX REPLACE "/$" "" NTMM_PC_UP "${NTMM_PC_UP}")
set(NTMM_PC_LIBDIR "\${prefix}/${CMAKE_INSTALL_LIBDIR}")
set(NTMM_PC_INCLUDEDIR "\${prefix}/${CMAKE_INSTALL_INCLUDEDIR}")
configure_file(cmake/ntmm.pc.in "${PROJECT_BINARY_DIR}/ntmm.pc" @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/ntmm.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
