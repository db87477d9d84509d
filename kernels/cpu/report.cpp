// What is said when a kernel goes wrong: who waits for whom, and who ran out of its stack.
#include "report.h"

#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "scheduler.h"

namespace pycnn::cpu {
namespace {

std::string text(uint3 v) { return "(" + std::to_string(v.x) + "," + std::to_string(v.y) + "," + std::to_string(v.z) + ")"; }

unsigned rank_of(uint3 t) { return t.x + blockDim.x * (t.y + blockDim.y * t.z); }

uint3 thread_of(unsigned rank) { return {rank % blockDim.x, rank / blockDim.x % blockDim.y, rank / (blockDim.x * blockDim.y)}; }

std::string text(const char* function, uint32_t mask, Site site) {
  const char* slash = std::strrchr(site.file, '/');
  char hex[32] = "()";
  if (mask) std::snprintf(hex, sizeof hex, "(mask 0x%08x)", mask);
  return std::string(function) + hex + " (" + (slash ? slash + 1 : site.file) + ":" + std::to_string(site.line) + ")";
}

}  // namespace

// g++ writes "... [with auto kernel = scale<float>; Args = ...]", clang "... [kernel = &scale<float>, Args = ...]".
std::string_view kernel_name(const char* signature) {
  const char* begin = std::strstr(signature, "kernel = ");
  if (!begin) return signature;
  begin += 9;
  while (*begin == '&' || *begin == '(' || *begin == ' ') begin++;
  const char* end = begin;
  for (int depth = 0; *end; end++) {
    if (*end == '<' || *end == '(' || *end == '[') depth++;
    else if (depth == 0 && std::strchr(";,])", *end)) break;
    else if (*end == '>' || *end == ')' || *end == ']') depth--;
  }
  return {begin, size_t(end - begin)};
}

std::string Scheduler::place() const { return "kernel " + std::string(kernel_name(launch_->name)) + ", block " + text(blockIdx); }

void Scheduler::fail(const std::string& what) const { throw KernelError(place() + ", thread " + text(threadIdx) + ": " + what); }

std::string Scheduler::waits(const Fiber& fiber) const {
  return "thread " + text(fiber.thread) + " waits at " + text(fiber.waits, fiber.mask, fiber.site);
}

void Scheduler::report_divergence(const Fiber& first, const char* name, Site site) const {
  throw KernelError("divergent barrier in " + place() + ": " + waits(first) + ", thread " + text(threadIdx) + " came to " +
                    text(name, first.mask, site));
}

// The fiber that holds the thread of this rank, nullptr if the thread has returned.
const Fiber* Scheduler::waiting_fiber(unsigned rank) const {
  for (int i = 0; i < stacks_.opened(); i++) {
    const Fiber* fiber = stacks_.fiber(i);
    if (fiber->waits && rank_of(fiber->thread) == rank) return fiber;
  }
  return nullptr;
}

// Nothing can go on: every thread waits or has returned. Names one that waits and one it waits for in vain; of those
// that wait for lanes if there are any, because the others may be waiting for them.
void Scheduler::report_deadlock() const {
  const Fiber* waiting = nullptr;
  for (unsigned rank = 0; rank < threads_; rank++) {
    const Fiber* fiber = waiting_fiber(rank);
    if (fiber && (!waiting || (fiber->mask && !waiting->mask))) waiting = fiber;
  }
  bool at_barrier = waiting->mask == 0;
  unsigned first = at_barrier ? 0 : rank_of(waiting->thread) / 32 * 32;
  for (unsigned rank = first; rank < threads_; rank++) {
    if (!at_barrier && (rank - first > 31 || !(waiting->mask >> (rank - first) & 1))) continue;
    const Fiber* missing = waiting_fiber(rank);
    if (missing && missing->waits == waiting->waits && missing->mask == waiting->mask) continue;
    std::string who = at_barrier ? "" : " for lane " + std::to_string(rank - first);
    throw KernelError((at_barrier ? "divergent barrier in " : "deadlock in ") + place() + ": " + waits(*waiting) + who + ", " +
                      (missing ? waits(*missing) : "thread " + text(thread_of(rank)) + " has returned"));
  }
  throw KernelError("deadlock in " + place() + ": " + waits(*waiting) + ", and too few threads come there");
}

// ---- faults ----------------------------------------------------------------------------------------------------

// Says where in which kernel a fault happened; ends the process if it was an overrun stack.
void report_fault(int, const void* address) {
  const Scheduler* s = scheduler;
  if (!s || !s->launch_) return;
  bool overrun = s->stacks_.in_guard(address);
  char line[1024];
  std::string_view kernel = kernel_name(s->launch_->name);
  int length = std::snprintf(line, sizeof line, "pycnn: %s in kernel %.*s, block (%u,%u,%u), thread (%u,%u,%u)\n",
                             overrun ? "stack overrun" : "invalid memory access", int(kernel.size() < 600 ? kernel.size() : 600),
                             kernel.data(), blockIdx.x, blockIdx.y, blockIdx.z, threadIdx.x, threadIdx.y, threadIdx.z);
  if (write(STDERR_FILENO, line, size_t(length)) < 0 || overrun) abort();
}

namespace {

struct sigaction previous_segv, previous_bus;

void on_fault(int signal, siginfo_t* info, void* context) {
  report_fault(signal, info->si_addr);
  struct sigaction& previous = signal == SIGSEGV ? previous_segv : previous_bus;
  if (previous.sa_flags & SA_SIGINFO) previous.sa_sigaction(signal, info, context);
  else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) previous.sa_handler(signal);
  else sigaction(signal, &previous, nullptr);  // the faulting instruction runs again and meets the default
}

bool install_handlers() {
  struct sigaction action = {};
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  return !sigaction(SIGSEGV, &action, &previous_segv) && !sigaction(SIGBUS, &action, &previous_bus);
}

// The handler cannot run on the stack that is full, so every OS thread gets another one for it.
struct SignalStack {
  static constexpr size_t kBytes = 64 * 1024;
  stack_t stack = {}, previous = {};
  SignalStack() {
    if (sigaltstack(nullptr, &previous) || !(previous.ss_flags & SS_DISABLE)) return;
    stack.ss_sp = std::malloc(kBytes);
    stack.ss_size = kBytes;
    sigaltstack(&stack, nullptr);
  }
  ~SignalStack() {
    if (!stack.ss_sp) return;
    sigaltstack(&previous, nullptr);
    std::free(stack.ss_sp);
  }
};

}  // namespace

void watch_stacks() {
  static const bool installed = install_handlers();
  static thread_local SignalStack stack;
  (void)installed, (void)stack;
}

}  // namespace pycnn::cpu
