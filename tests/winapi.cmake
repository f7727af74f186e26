# Windows programs: tests/winapi/<name>.c is compiled natively (on include/windows.h) and, where mingw-w64 is present, as a
# real Windows program. scripts/compare_with_wine.sh runs both and compares what they print. Without mingw-w64 or Wine the
# native program still has to succeed; then the test is reported as skipped, with the reason.
# Files named native_*.c are linked to each native program. If there is a native_main.c, it owns main(): it starts the
# machine and calls the program, whose main is called WinapiProgramMain natively (int WinapiProgramMain(void)).
find_program(NTMM_MINGW_CC x86_64-w64-mingw32-gcc)
file(GLOB winapi_programs CONFIGURE_DEPENDS winapi/*.c)
set(native_companions ${winapi_programs})
list(FILTER native_companions INCLUDE REGEX "/native_[^/]*\\.c$")
list(FILTER winapi_programs EXCLUDE REGEX "/native_[^/]*\\.c$")
if(native_companions)
  add_library(ntmm_winapi_companions OBJECT ${native_companions})
  ntmm_hosted_target(ntmm_winapi_companions)
  target_include_directories(ntmm_winapi_companions PRIVATE "${PROJECT_SOURCE_DIR}/include")
endif()

foreach(source IN LISTS winapi_programs)
  get_filename_component(name "${source}" NAME_WE)
  string(REGEX REPLACE "^test_" "" name "${name}")
  set(target winapi_${name})
  add_executable(${target} "${source}")
  ntmm_hosted_target(${target})
  target_include_directories(${target} PRIVATE "${PROJECT_SOURCE_DIR}/include" "${CMAKE_CURRENT_SOURCE_DIR}/winapi")
  # Of the source, not of the target: these come behind the house's warnings.
  set_source_files_properties("${source}" PROPERTIES COMPILE_OPTIONS "-Wno-missing-prototypes;-Wno-strict-prototypes")
  if(native_companions)
    target_sources(${target} PRIVATE $<TARGET_OBJECTS:ntmm_winapi_companions>)
    if("${native_companions}" MATCHES "/native_main\\.c")
      target_compile_definitions(${target} PRIVATE main=WinapiProgramMain)
    endif()
  endif()
  # A client: public headers and the library, whose heap stands on the NT services.
  target_link_libraries(${target} PRIVATE ntmm_static m)
  set_target_properties(${target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/tests/winapi" OUTPUT_NAME ${name})

  set(windows_program "")
  if(NTMM_MINGW_CC)
    set(windows_program "${PROJECT_BINARY_DIR}/tests/winapi/${name}.exe")
    file(GLOB winapi_headers CONFIGURE_DEPENDS winapi/*.h)
    add_custom_command(OUTPUT "${windows_program}"
      COMMAND "${NTMM_MINGW_CC}" -std=gnu17 -O1 -Wall -Wextra -Werror -Wno-multichar -D_WIN32_WINNT=0x0A00 -D__USE_MINGW_ANSI_STDIO=1
              "${source}" -o "${windows_program}" -lpsapi -lntdll
      DEPENDS "${source}" ${winapi_headers}
      COMMENT "Building Windows program ${name}.exe" VERBATIM)
    add_custom_target(winapi_${name}_exe ALL DEPENDS "${windows_program}")
  endif()
  add_test(NAME winapi.${name}
    COMMAND "${PROJECT_SOURCE_DIR}/scripts/compare_with_wine.sh" "${PROJECT_BINARY_DIR}/tests/winapi" "${windows_program}"
            ${NTMM_TEST_LAUNCHER} $<TARGET_FILE:${target}>)
  set_tests_properties(winapi.${name} PROPERTIES
    LABELS winapi ENVIRONMENT "${NTMM_TEST_ENVIRONMENT};NTMM_WINEPREFIX=${PROJECT_SOURCE_DIR}/build/wineprefix" SKIP_RETURN_CODE 77 TIMEOUT ${NTMM_TEST_TIMEOUT})
endforeach()
