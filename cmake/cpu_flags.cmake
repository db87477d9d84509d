# cpu_flags: how the kernels are compiled for the CPU. cpu_needs: the instruction sets that they then rely on.
include(CheckCXXCompilerFlag)

# NaN and infinity keep their meaning: only errno and floating-point traps are given up.
set(cpu_flags -O3 -fno-math-errno -fno-trapping-math)

set(architecture "")
if(PYCNN_CPU STREQUAL "native")
  set(architecture -march=native)
elseif(NOT PYCNN_CPU STREQUAL "portable")
  set(architecture -march=${PYCNN_CPU})
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set(architecture -march=x86-64-v3)  # AVX2 and FMA: Intel since 2013, AMD since 2015. arm64's baseline has what is needed
endif()
if(architecture)
  string(MAKE_C_IDENTIFIER "compiler_knows${architecture}" known)
  check_cxx_compiler_flag(${architecture} ${known})
  if(${known})
    list(APPEND cpu_flags ${architecture})
  elseif(NOT PYCNN_CPU STREQUAL "native")
    message(FATAL_ERROR "PYCNN_CPU=${PYCNN_CPU}: ${CMAKE_CXX_COMPILER} does not know ${architecture}")
  endif()
endif()

# What cpu_guard.cpp asks the processor for, in the words of __builtin_cpu_supports.
set(cpu_needs "")
execute_process(COMMAND ${CMAKE_CXX_COMPILER} ${cpu_flags} -dM -E -x c++ /dev/null OUTPUT_VARIABLE macros)
foreach(set AVX AVX2 FMA AVX512F AVX512BW AVX512DQ AVX512VL)
  if(macros MATCHES "#define __${set}__ ")
    string(TOLOWER ${set} set)
    string(APPEND cpu_needs "NEED(${set})")
  endif()
endforeach()
