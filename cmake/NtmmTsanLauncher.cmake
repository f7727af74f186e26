# ThreadSanitizer expects the executable, the heap and the libraries in fixed address ranges. On kernels that randomize
# addresses widely (vm.mmap_rnd_bits above 28) clang 14's runtime dies with "unexpected memory mapping" now and then.
# So every test starts with address randomization off.
set(probe_source "${PROJECT_BINARY_DIR}/CMakeFiles/tsan_probe.c")
set(probe_program "${PROJECT_BINARY_DIR}/CMakeFiles/tsan_probe")
file(WRITE "${probe_source}" "int main(void) { return 0; }\n")
execute_process(COMMAND "${CMAKE_C_COMPILER}" -fsanitize=thread -fPIE -pie "${probe_source}" -o "${probe_program}"
  RESULT_VARIABLE probe_result ERROR_VARIABLE probe_error)
if(NOT probe_result EQUAL 0)
  message(FATAL_ERROR "ntmm: this compiler cannot link a ThreadSanitizer program (`make deps` installs libclang-rt-14-dev):\n${probe_error}")
endif()

function(ntmm_tsan_probe result)
  set(${result} TRUE PARENT_SCOPE)
  foreach(attempt RANGE 1 24)
    execute_process(COMMAND ${ARGN} "${probe_program}" RESULT_VARIABLE code OUTPUT_QUIET ERROR_QUIET)
    if(NOT code EQUAL 0)
      set(${result} FALSE PARENT_SCOPE)
      return()
    endif()
  endforeach()
endfunction()

# Even where the runtime copes, a randomized executable may land in the system window that the TSan layout leaves for NT.
find_program(NTMM_SETARCH setarch)
ntmm_tsan_probe(fixed_works "${NTMM_SETARCH}" "${CMAKE_HOST_SYSTEM_PROCESSOR}" -R)
if(NOT fixed_works)
  message(FATAL_ERROR "ntmm: ThreadSanitizer programs do not run here, not even without address randomization "
    "(try: sysctl vm.mmap_rnd_bits=28)")
endif()
set(NTMM_TEST_LAUNCHER "${NTMM_SETARCH}" "${CMAKE_HOST_SYSTEM_PROCESSOR}" -R)
