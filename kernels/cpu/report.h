// Messages about kernels that go wrong.
#pragma once
#include <string_view>

namespace pycnn::cpu {

// "scale<float>" of the signature of launch<scale<float>>.
std::string_view kernel_name(const char* signature);

// Makes a fault in a guard below a stack of this OS thread name kernel, block and thread before the process aborts.
// Other faults go to the handler that was installed before.
void watch_stacks();

}  // namespace pycnn::cpu
