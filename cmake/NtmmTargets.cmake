# Helpers that turn a folder's files into targets. Every one of them tolerates an empty or missing folder.

# The kernel: freestanding objects.
function(ntmm_kernel_target target)
  target_link_libraries(${target} PRIVATE ntmm_options ntmm_kernel_options)
  ntmm_internal_includes(${target})
endfunction()

# Hosted code of ours: port, tools, tests, benches.
function(ntmm_hosted_target target)
  target_link_libraries(${target} PRIVATE ntmm_options ntmm_hosted_options Threads::Threads)
  get_target_property(type ${target} TYPE)
  if(type STREQUAL "EXECUTABLE")
    # Names in back traces; position independent, because NT address space needs the low addresses.
    set_target_properties(${target} PROPERTIES ENABLE_EXPORTS ON)
  endif()
endfunction()

# The view that the kernel's own files (and tests of the inside) have.
function(ntmm_internal_includes target)
  target_include_directories(${target} PRIVATE
    "${PROJECT_SOURCE_DIR}/include" "${PROJECT_SOURCE_DIR}/src"
    "${PROJECT_SOURCE_DIR}/port" "${PROJECT_SOURCE_DIR}/port/host")
endfunction()

# ntmm_library(<target> STATIC|SHARED <object library>...)
function(ntmm_library target kind)
  set(objects "")
  foreach(part IN LISTS ARGN)
    list(APPEND objects "$<TARGET_OBJECTS:${part}>")
  endforeach()
  add_library(${target} ${kind} ${objects})
  set_target_properties(${target} PROPERTIES OUTPUT_NAME ntmm LINKER_LANGUAGE C
    ARCHIVE_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}" LIBRARY_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}")
  target_include_directories(${target} INTERFACE
    "$<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>" "$<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/ntmm>")
  target_link_libraries(${target} PRIVATE Threads::Threads ${NTMM_LIBURING_LDFLAGS} ${NTMM_LIBCRYPTO_LDFLAGS})
  if(kind STREQUAL "SHARED")
    set_target_properties(${target} PROPERTIES VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR})
    target_link_options(${target} PRIVATE -Wl,--no-undefined)
  endif()
endfunction()

# Environment that the sanitizers need here: SIGSEGV belongs to the host port, stacks may move, every report ends the test.
set(NTMM_TEST_ENVIRONMENT "")
if(NTMM_SANITIZER STREQUAL "asan" OR NTMM_SANITIZER STREQUAL "fuzz")
  set(NTMM_TEST_ENVIRONMENT
    "ASAN_OPTIONS=handle_segv=0:allow_user_segv_handler=1:detect_stack_use_after_return=0:use_sigaltstack=0"
    "UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1")
elseif(NTMM_SANITIZER STREQUAL "tsan")
  set(NTMM_TEST_ENVIRONMENT
    "TSAN_OPTIONS=handle_segv=0:allow_user_segv_handler=1:report_signal_unsafe=0:history_size=4:halt_on_error=1:second_deadlock_stack=1:suppressions=${PROJECT_SOURCE_DIR}/tests/tsan.supp")
endif()

# What a test executable is started through (only tsan needs something: see NtmmTsanLauncher.cmake).
set(NTMM_TEST_LAUNCHER "")
if(NTMM_SANITIZER STREQUAL "tsan")
  include(NtmmTsanLauncher)
endif()

# Where tests run side by side the long ones are to begin first: one that begins last leaves a processor idle. By label.
set(NTMM_TEST_COST_tools 40)
set(NTMM_TEST_COST_fuzz 30)
set(NTMM_TEST_COST_fault_injection 30)
set(NTMM_TEST_COST_model 20)
set(NTMM_TEST_COST_native 10)

# ntmm_register_test(<ctest name> <target> <label> [argument...])
function(ntmm_register_test name target label)
  add_test(NAME ${name} COMMAND ${NTMM_TEST_LAUNCHER} $<TARGET_FILE:${target}> ${ARGN})
  set_tests_properties(${name} PROPERTIES
    LABELS "${label}" ENVIRONMENT "${NTMM_TEST_ENVIRONMENT}" SKIP_RETURN_CODE 77 TIMEOUT ${NTMM_TEST_TIMEOUT}
    WORKING_DIRECTORY "${PROJECT_BINARY_DIR}")
  if(DEFINED NTMM_TEST_COST_${label})
    set_tests_properties(${name} PROPERTIES COST ${NTMM_TEST_COST_${label}})
  endif()
endfunction()

# ntmm_test_folder(<folder> <group> <label>): every *.c becomes one cmocka executable and the test <group>.<name>.
function(ntmm_test_folder folder group label)
  file(GLOB sources CONFIGURE_DEPENDS "${folder}/*.c")
  foreach(source IN LISTS sources)
    get_filename_component(name "${source}" NAME_WE)
    string(REGEX REPLACE "^test_" "" name "${name}")
    set(target test_${group}_${name})
    add_executable(${target} "${source}")
    ntmm_hosted_target(${target})
    ntmm_internal_includes(${target})
    target_include_directories(${target} PRIVATE "${PROJECT_SOURCE_DIR}/tests/support")
    if(group STREQUAL "heap" AND TARGET ntheap_core)
      target_link_libraries(${target} PRIVATE ntheap_core)   # the heap on Linux; all others have the one in the machine
    endif()
    target_link_libraries(${target} PRIVATE ${NTMM_TEST_LIBRARIES} m)
    set_target_properties(${target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/tests/${group}" OUTPUT_NAME ${name})
    ntmm_register_test(${group}.${name} ${target} ${label})
  endforeach()
endfunction()
