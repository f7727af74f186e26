# What the build finds on the system. Nothing is required to configure: what is missing switches off what needs it,
# with a message; scripts/deps.sh (make deps) installs everything.
set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)
find_package(PkgConfig)
find_package(Python3 COMPONENTS Interpreter)

if(PkgConfig_FOUND)
  pkg_check_modules(NTMM_LIBURING liburing)
  pkg_check_modules(NTMM_LIBCRYPTO libcrypto)
  pkg_check_modules(NTMM_CMOCKA IMPORTED_TARGET cmocka)
  pkg_check_modules(NTMM_JANSSON IMPORTED_TARGET jansson)
  pkg_check_modules(NTMM_POPT IMPORTED_TARGET popt)
  # Libraries that the command uses where they are present (src checks NTMM_HAVE_<NAME>).
  set(NTMM_TOOL_EXTRA_LIBRARIES "")
endif()

if(NOT NTMM_LIBCRYPTO_FOUND)
  message(STATUS "ntmm: libcrypto not found; paging files cannot be encrypted")
endif()
if(NOT NTMM_LIBURING_FOUND)
  message(STATUS "ntmm: liburing not found; paging I/O uses the thread pool")
endif()
