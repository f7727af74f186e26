# Compiler settings of the house: the language, the warnings, the sanitizers.
#
# Everything a preset chooses comes in by three cache variables, so that any other build can choose the same:
#   CMAKE_BUILD_TYPE   Release (-O2 -g) or Debug (-Og -g) or Sanitize (-O1 -g); assert() stays on in all of them
#   NTMM_DBG           the DBG macro of Windows' checked builds: invariant checks, lock order, verification
#   NTMM_SANITIZER     none, asan (address + undefined), tsan (thread), fuzz (asan + coverage for libFuzzer)

set(CMAKE_C_STANDARD 17)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

include(CheckPIESupported)
check_pie_supported(LANGUAGES C)

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Release, Debug or Sanitize" FORCE)
endif()
# No -DNDEBUG: an assertion that is worth writing is worth keeping.
set(CMAKE_C_FLAGS_RELEASE "-O2 -g")
set(CMAKE_C_FLAGS_DEBUG "-Og -g")
set(CMAKE_C_FLAGS_SANITIZE "-O1 -g")
set(CMAKE_EXE_LINKER_FLAGS_SANITIZE "")
set(CMAKE_SHARED_LINKER_FLAGS_SANITIZE "")

option(NTMM_DBG "Build with DBG=1 (checked build)" OFF)
option(NTMM_LAYOUT_VALGRIND "Put the NT windows where Valgrind can map them" OFF)
set(NTMM_SANITIZER none CACHE STRING "none, asan, tsan or fuzz")
set_property(CACHE NTMM_SANITIZER PROPERTY STRINGS none asan tsan fuzz)
option(NTMM_WERROR "Treat warnings as errors" ON)

if(NTMM_SANITIZER STREQUAL "none")
  set(shared_default ON)
else()
  set(shared_default OFF)   # the sanitizer runtimes are linked into executables, not into a shared library
endif()
option(NTMM_BUILD_SHARED "Build libntmm.so besides libntmm.a" ${shared_default})

find_program(NTMM_CCACHE ccache)
if(NTMM_CCACHE AND NOT CMAKE_C_COMPILER_LAUNCHER)
  set(CMAKE_C_COMPILER_LAUNCHER "${NTMM_CCACHE}")
endif()

# --- for every file of the project ----------------------------------------------------------------------
add_library(ntmm_options INTERFACE)
# Page-table entries, list heads and client memory are seen through several types: no type-based aliasing.
# Frame pointers: the back trace of an unhandled exception walks them, through signal frames too.
target_compile_options(ntmm_options INTERFACE
  -fno-strict-aliasing -fno-omit-frame-pointer
  -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wundef -Wvla
  -Wno-multichar          # pool tags are four-character constants
  $<$<BOOL:${NTMM_WERROR}>:-Werror>
  $<$<C_COMPILER_ID:Clang>:-Wthread-safety>)
target_compile_definitions(ntmm_options INTERFACE NTMM_PORT_HOST=1 DBG=$<BOOL:${NTMM_DBG}>
  NTMM_LAYOUT_VALGRIND=$<BOOL:${NTMM_LAYOUT_VALGRIND}>)
# Always 0 or 1, in every file: with #if and -Wundef none can miss them.
target_compile_definitions(ntmm_options INTERFACE
  NTMM_ASAN=$<OR:$<STREQUAL:${NTMM_SANITIZER},asan>,$<STREQUAL:${NTMM_SANITIZER},fuzz>> NTMM_TSAN=$<STREQUAL:${NTMM_SANITIZER},tsan>)

if(NTMM_SANITIZER STREQUAL "asan")
  set(sanitizer_compile -fsanitize=address,undefined -fno-sanitize-recover=all)
  set(sanitizer_link -fsanitize=address,undefined)
elseif(NTMM_SANITIZER STREQUAL "tsan")
  set(sanitizer_compile -fsanitize=thread)
  set(sanitizer_link -fsanitize=thread)
elseif(NTMM_SANITIZER STREQUAL "fuzz")
  set(sanitizer_compile -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all)
  set(sanitizer_link -fsanitize=address,undefined)
elseif(NTMM_SANITIZER STREQUAL "none")
  set(sanitizer_compile "")
  set(sanitizer_link "")
else()
  message(FATAL_ERROR "NTMM_SANITIZER is '${NTMM_SANITIZER}'; it must be none, asan, tsan or fuzz")
endif()
if(NTMM_SANITIZER STREQUAL "fuzz" AND NOT CMAKE_C_COMPILER_ID STREQUAL "Clang")
  message(FATAL_ERROR "libFuzzer comes with clang; configure with -DCMAKE_C_COMPILER=clang")
endif()
target_compile_options(ntmm_options INTERFACE ${sanitizer_compile})
target_link_options(ntmm_options INTERFACE ${sanitizer_link})

# --- for src/: freestanding -----------------------------------------------------------------------------
# The kernel may be interrupted anywhere by its own fault handler and is called from foreign calling conventions:
# general registers only. -fbuiltin behind -ffreestanding keeps memcpy and friends inlined (gcc switches that off
# otherwise; clang does in any case: write __builtin_memcpy where it matters). Loops stay loops: gcc would turn some into
# calls of strlen, which a kernel does not have, and memset's own loop into a call of memset.
# -fno-semantic-interposition: functions may be inlined although the code is position independent.
add_library(ntmm_kernel_options INTERFACE)
target_compile_options(ntmm_kernel_options INTERFACE
  -ffreestanding -mgeneral-regs-only -fno-stack-protector -fno-semantic-interposition
  $<$<C_COMPILER_ID:GNU>:-fbuiltin> $<$<C_COMPILER_ID:GNU>:-fno-tree-loop-distribute-patterns>)

# --- for hosted code ------------------------------------------------------------------------------------
# Defined empty, so that a file that says `#define _GNU_SOURCE` itself does not redefine it.
add_library(ntmm_hosted_options INTERFACE)
target_compile_definitions(ntmm_hosted_options INTERFACE _GNU_SOURCE=)
