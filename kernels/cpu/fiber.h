// Fibers: stacks that an OS thread switches between. One holds a CUDA thread that waits.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "builtins.h"

// PYCNN_PORTABLE_FIBERS=1 switches with ucontext, which is slower and knows every processor that Linux runs on.
#if !PYCNN_PORTABLE_FIBERS && !defined(__x86_64__) && !defined(__aarch64__)
#undef PYCNN_PORTABLE_FIBERS
#define PYCNN_PORTABLE_FIBERS 1
#endif
#if PYCNN_PORTABLE_FIBERS
#include <ucontext.h>
#endif

namespace pycnn::cpu {

// Where a fiber goes on: the registers a called function must keep are on its stack. The rounding mode is not kept;
// kernels do not change it.
struct Context {
#if PYCNN_PORTABLE_FIBERS
  ucontext_t registers;
#else
  void* stack_pointer;
#endif
};

// Makes `context` enter `entry` on the stack [bottom, top) when it is switched to. `entry` must not return.
void prepare(Context& context, char* bottom, char* top, void (*entry)());

// Stores where the caller is in `from` and goes on at `to`.
void switch_context(Context& from, Context& to);

// A line of a kernel, for messages: as a default argument `Site::here()` it is the caller's.
struct Site {
  const char* file;
  int line;
  static constexpr Site here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) { return {file, line}; }
  bool operator==(const Site& other) const {
    return line == other.line && (file == other.file || !std::strcmp(file, other.file));
  }
};

// Lives at the top of its own stack.
struct Fiber {
  Context context;
  char* stack;        // its lowest byte
  Fiber* next;        // in the queue it waits in, or of the unused
  uint3 thread;       // whose threadIdx it has
  const char* waits;  // the function it waits in, nullptr if it does not wait
  uint32_t mask;      // the lanes waited for; 0 at a block barrier
  Site site;
};

// First in, first out.
struct Queue {
  Fiber* first = nullptr;
  Fiber* last = nullptr;

  void push(Fiber* fiber) {
    fiber->next = nullptr;
    (first ? last->next : first) = fiber;
    last = fiber;
  }
  Fiber* pop() {
    Fiber* fiber = first;
    first = fiber->next;
    return fiber;
  }
  // Moves all of `other` to the end.
  void append(Queue& other) {
    if (!other.first) return;
    (first ? last->next : first) = other.first;
    last = other.last;
    other.first = nullptr;
  }
};

// The stacks of one OS thread: as many as a block has threads, opened one after another as they are needed and used
// again. Below each is a guard, which no one may touch.
class Stacks {
 public:
  Stacks();
  ~Stacks();
  Stacks(const Stacks&) = delete;

  // An unused fiber, ready to enter `entry`.
  Fiber* take(void (*entry)());
  void give_back(Fiber* fiber) {
    fiber->next = unused_;
    unused_ = fiber;
  }
  // Gives all back.
  void reset();

  bool in_guard(const void* address) const;
  int opened() const { return opened_; }
  Fiber* fiber(int i) const;

 private:
  char* bottom(int i) const { return region_ + i * stride_ + guard_; }
  char* top(int i) const { return region_ + (i + 1) * stride_; }

  size_t guard_, stride_;  // bytes
  char* region_;
  int opened_ = 0;
  Fiber* unused_ = nullptr;
};

}  // namespace pycnn::cpu
