// The fiber switch for x86-64, arm64 and ucontext, and the stacks.
#include "fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include <new>

#ifndef MAP_NORESERVE
#define MAP_NORESERVE 0
#endif

#if defined(__APPLE__)
#define SYMBOL "_pycnn_switch_stack"
#define HIDDEN ".private_extern " SYMBOL "\n"
#else
#define SYMBOL "pycnn_switch_stack"
#define HIDDEN ".hidden " SYMBOL "\n.type " SYMBOL ", %function\n"
#endif

namespace pycnn::cpu {

#if PYCNN_PORTABLE_FIBERS

void prepare(Context& context, char* bottom, char* top, void (*entry)()) {
  getcontext(&context.registers);
  context.registers.uc_stack.ss_sp = bottom;
  context.registers.uc_stack.ss_size = size_t(top - bottom);
  context.registers.uc_link = nullptr;
  makecontext(&context.registers, entry, 0);
}

void switch_context(Context& from, Context& to) { swapcontext(&from.registers, &to.registers); }

#else

// void pycnn_switch_stack(void** save, void* load): pushes the registers a callee must keep, stores the stack pointer
// in *save, takes `load` for it and pops the registers found there.
#if defined(__x86_64__)
asm(".text\n.p2align 4\n.globl " SYMBOL "\n" HIDDEN SYMBOL
    ":\n"
    "  pushq %rbp\n  pushq %rbx\n  pushq %r12\n  pushq %r13\n  pushq %r14\n  pushq %r15\n"
    "  movq %rsp, (%rdi)\n"
    "  movq %rsi, %rsp\n"
    "  popq %r15\n  popq %r14\n  popq %r13\n  popq %r12\n  popq %rbx\n  popq %rbp\n"
    "  ret\n");
constexpr int kFrameWords = 8;  // six registers, the return address, and 0 where a caller's would be
constexpr int kReturnAddress = 6;
#else
asm(".text\n.p2align 4\n.globl " SYMBOL "\n" HIDDEN SYMBOL
    ":\n"
    "  sub sp, sp, #160\n"
    "  stp x19, x20, [sp]\n  stp x21, x22, [sp, #16]\n  stp x23, x24, [sp, #32]\n  stp x25, x26, [sp, #48]\n"
    "  stp x27, x28, [sp, #64]\n  stp x29, x30, [sp, #80]\n"
    "  stp d8, d9, [sp, #96]\n  stp d10, d11, [sp, #112]\n  stp d12, d13, [sp, #128]\n  stp d14, d15, [sp, #144]\n"
    "  mov x9, sp\n  str x9, [x0]\n"
    "  mov sp, x1\n"
    "  ldp x19, x20, [sp]\n  ldp x21, x22, [sp, #16]\n  ldp x23, x24, [sp, #32]\n  ldp x25, x26, [sp, #48]\n"
    "  ldp x27, x28, [sp, #64]\n  ldp x29, x30, [sp, #80]\n"
    "  ldp d8, d9, [sp, #96]\n  ldp d10, d11, [sp, #112]\n  ldp d12, d13, [sp, #128]\n  ldp d14, d15, [sp, #144]\n"
    "  add sp, sp, #160\n"
    "  ret\n");
constexpr int kFrameWords = 20;
constexpr int kReturnAddress = 11;  // x30
#endif

extern "C" void pycnn_switch_stack(void** save, void* load);

void prepare(Context& context, char*, char* top, void (*entry)()) {
  auto frame = reinterpret_cast<uintptr_t*>(reinterpret_cast<uintptr_t>(top) & ~uintptr_t(15)) - kFrameWords;
  for (int i = 0; i < kFrameWords; i++) frame[i] = 0;
  frame[kReturnAddress] = reinterpret_cast<uintptr_t>(entry);
  context.stack_pointer = frame;
}

void switch_context(Context& from, Context& to) { pycnn_switch_stack(&from.stack_pointer, to.stack_pointer); }

#endif

constexpr size_t kStackBytes = 112 * 1024;
constexpr size_t kGuardBytes = 16 * 1024;
constexpr int kStacks = 1024;  // threads of a block

Stacks::Stacks() {
  size_t page = size_t(sysconf(_SC_PAGESIZE));
  auto whole_pages = [=](size_t bytes) { return (bytes + page - 1) / page * page; };
  guard_ = whole_pages(kGuardBytes);
  stride_ = guard_ + whole_pages(kStackBytes) + page;  // the odd page spreads the stacks' tops over the cache's sets
  void* region = mmap(nullptr, kStacks * stride_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (region == MAP_FAILED) throw std::bad_alloc();
  region_ = static_cast<char*>(region);
}

Stacks::~Stacks() { munmap(region_, kStacks * stride_); }

// The top of a stack, less what keeps 32 neighbors from sharing a set of the first-level cache.
Fiber* Stacks::fiber(int i) const { return reinterpret_cast<Fiber*>(top(i) - i % 32 * 128 - (sizeof(Fiber) + 127) / 128 * 128); }

Fiber* Stacks::take(void (*entry)()) {
  if (!unused_) {
    int i = opened_;
    // A system may limit the number of mappings: then the guard is given up, which joins the stack to the one before.
    if (mprotect(bottom(i), stride_ - guard_, PROT_READ | PROT_WRITE) &&
        mprotect(bottom(i) - guard_, stride_, PROT_READ | PROT_WRITE))
      throw std::bad_alloc();
    opened_++;
    fiber(i)->stack = bottom(i);
    give_back(fiber(i));
  }
  Fiber* fiber = unused_;
  unused_ = fiber->next;
  fiber->waits = nullptr;
  prepare(fiber->context, fiber->stack, reinterpret_cast<char*>(fiber), entry);
  return fiber;
}

void Stacks::reset() {
  unused_ = nullptr;
  for (int i = opened_; i-- > 0;) give_back(fiber(i));
}

bool Stacks::in_guard(const void* address) const {
  auto offset = reinterpret_cast<uintptr_t>(address) - reinterpret_cast<uintptr_t>(region_);
  return offset < kStacks * stride_ && offset % stride_ < guard_;
}

}  // namespace pycnn::cpu
