// Refuses a processor that lacks the instructions pycnn._cpu was compiled with. Compiled without them, and run before the
// constructors that register the kernel versions, where the first such instruction would end Python with SIGILL.
#include <cstdio>
#include <cstdlib>

#define NEED(set)                                                                                                   \
  if (!__builtin_cpu_supports(#set)) {                                                                              \
    std::fputs("pycnn._cpu was built for a processor with " #set                                                    \
               ", which this one lacks. Rebuild it here, or with "                                                  \
               "PYCNN_CPU=portable (or PYCNN_CPU=x86-64-v2) in the environment: pip install --force-reinstall .\n", \
               stderr);                                                                                             \
    std::_Exit(1);                                                                                                  \
  }

#if defined(__x86_64__)
__attribute__((constructor(101))) static void check_processor() {
  __builtin_cpu_init();
  PYCNN_CPU_NEEDS
}
#endif
