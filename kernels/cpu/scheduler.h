// How a grid runs on a CPU. Its blocks are shared out over OS threads; each has a Scheduler, which runs the threads of
// one block after another:
//
//   A fiber runs thread after thread in a plain loop (run_threads), into which the kernel is inlined. When a thread has
//   to wait, at a barrier or for the lanes of its warp, the fiber it runs on becomes its own, and the scheduler goes on
//   with a thread whose wait is over, else with a new fiber that takes up the loop at the next thread. So a kernel
//   without barriers never switches. When nothing can go on although somebody waits, the launch fails with a report.
#pragma once
#include <atomic>
#include <exception>
#include <string>

#include "../common/array.h"
#include "fiber.h"

namespace pycnn::cpu {

// A kernel did what a GPU forbids. The message names kernel, block and thread.
struct KernelError : LaunchError {
  using LaunchError::LaunchError;
};

// The order in which the threads of a block start. A correct kernel gives the same bits in each.
enum class Order { forward, reverse, random };
void set_thread_order(Order order, uint64_t seed = 0);

// What a GPU of compute capability 9.0 allows.
inline constexpr int kMaxThreads = 1024;
inline constexpr int kWarps = kMaxThreads / 32;
inline constexpr size_t kMaxStaticShared = 48 * 1024;
inline constexpr size_t kMaxShared = 227 * 1024;

class Scheduler;
struct SharedLayout;

struct Launch {
  dim3 grid, block;
  size_t dynamic_shared;  // bytes
  const char* name;
  void (*run_threads)(Scheduler&, const void* kernel);
  const void* kernel;
  uint64_t id = 0;
  SharedLayout* shared = nullptr;
  std::atomic<bool> failed{false};
};

// Checks the limits and runs all blocks. Throws what a kernel threw.
void run(Launch& launch);

// A warp collective: `compute` turns what the lanes of `mask` brought into what each takes away, in place.
struct Collective {
  const char* name;
  void (*compute)(uint32_t mask, const int* argument, uint64_t* value);
};

class Scheduler {
 public:
  // One of 16 barriers, of `count` threads. Returns for how many of them `predicate` holds. All must come to barrier 0,
  // __syncthreads, in the same line.
  int barrier(int id, int count, const char* name, bool predicate, Site site);

  // Brings a value to the lanes of `mask` and returns what the last of them to arrive has computed for this one.
  uint64_t collective(const Collective& what, uint32_t mask, uint64_t value, int argument, Site site);

  // The block's shared memory. `place` keeps where in it one array of the kernel lies in the launch under way.
  char* shared(std::atomic<uint64_t>& place, size_t bytes) {
    uint64_t found = place.load(std::memory_order_relaxed);
    size_t offset = found % kArenaBytes;
    if (found / kArenaBytes != launch_->id || offset + bytes > poisoned_) offset = place_shared(place, bytes);
    return arena_ + offset;
  }
  char* dynamic_shared() { return arena_; }
  size_t dynamic_shared_bytes() const { return launch_->dynamic_shared; }
  bool in_shared(const void* p) const { return p >= arena_ && p < arena_ + kArenaBytes; }

  unsigned thread() const { return threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z); }
  unsigned threads() const { return threads_; }
  // Steps up at each block barrier, and at each __syncwarp of the calling thread's warp.
  uint32_t block_epoch() const { return block_epoch_; }
  uint32_t warp_epoch() const { return warps_[thread() / 32].epoch; }
  uint64_t block_serial() const { return serial_; }

  // "kernel scale<float>, block (0,0,0)"
  std::string place() const;
  [[noreturn]] void fail(const std::string& what) const;

 private:
  static constexpr size_t kArenaBytes = 256 * 1024;
  static constexpr int kBarriers = 16;

  struct Barrier {
    int arrived = 0;
    int sum = 0, result = 0;
    Site site = {};  // of those that wait
    Queue waiting;
  };
  struct Group {  // lanes that wait for each other
    uint32_t mask, arrived;
    const Collective* what;
    Queue waiting;
  };
  struct Warp {
    uint64_t value[32];
    int argument[32];
    int groups = 0;
    uint32_t epoch = 0;
    Group group[32];
  };

  friend void run(Launch&);
  template <class Kernel> friend void run_threads(Scheduler&, const void*);
  friend void report_fault(int, const void*);

  void run_blocks(Launch& launch, int64_t first, int64_t end);
  bool begin_block(int64_t block);
  bool carry_on();
  void set_order();
  void wait_in(Queue& queue, const char* name, uint32_t mask, Site site);
  void suspend();
  void resume(Fiber* fiber);
  static void enter_fiber();
  size_t place_shared(std::atomic<uint64_t>& place, size_t bytes);
  std::string place_of(uint3 thread) const;
  std::string waits(const Fiber& fiber) const;
  const Fiber* waiting_fiber(unsigned thread) const;
  [[noreturn]] void report_divergence(const Fiber& first, const char* name, Site site) const;
  [[noreturn]] void report_deadlock() const;

  unsigned next_ = 0;     // place in order_ of the next thread to start
  unsigned threads_ = 0;  // of a block
  unsigned live_ = 0;     // fibers in use
  uint3 order_[kMaxThreads];
  uint3 order_of_ = {};  // the block order_ is for
  Order order_is_ = Order::forward;

  Launch* launch_ = nullptr;
  int64_t block_ = 0, end_ = 0;
  Fiber* running_ = nullptr;
  Queue ready_;
  Barrier barriers_[kBarriers];
  Warp warps_[kWarps];
  uint32_t block_epoch_ = 0;
  uint64_t serial_ = 0;  // counts the blocks this scheduler has run
  size_t poisoned_ = 0;  // bytes of the arena in use by this launch, NaN at the start of each block
  Context home_;         // of the OS thread, outside any fiber
  Stacks stacks_;
  std::exception_ptr error_;
  alignas(128) char arena_[kArenaBytes];
};

// Of the OS thread; set while it runs blocks.
PYCNN_THREAD_LOCAL Scheduler* scheduler;

// What every fiber runs: thread after thread of a block, block after block.
template <class Kernel>
void run_threads(Scheduler& s, const void* shared_kernel) {
  const Kernel kernel = *static_cast<const Kernel*>(shared_kernel);  // a copy, so that arguments stay in registers
  do {
    unsigned t = s.next_;
    do {
      s.next_ = t + 1;
      threadIdx = s.order_[t++];
      kernel();
    } while (t < s.threads_ && t == s.next_ && s.live_ == 1);
  } while (s.carry_on());
}

// Runs `kernel()` for every thread of the grid. `name` is what messages call it.
template <class Kernel>
void run_grid(dim3 grid, dim3 block, size_t dynamic_shared, const char* name, const Kernel& kernel) {
  Launch launch{grid, block, dynamic_shared, name, run_threads<Kernel>, &kernel};
  run(launch);
}

}  // namespace pycnn::cpu

inline int pycnn_barrier(const char* name, bool predicate, pycnn::cpu::Site site) {
  pycnn::cpu::Scheduler& s = *pycnn::cpu::scheduler;
  return s.barrier(0, int(s.threads()), name, predicate, site);
}
inline void __syncthreads(pycnn::cpu::Site site = pycnn::cpu::Site::here()) { pycnn_barrier("__syncthreads", false, site); }
inline int __syncthreads_count(int predicate, pycnn::cpu::Site site = pycnn::cpu::Site::here()) {
  return pycnn_barrier("__syncthreads_count", predicate, site);
}
inline int __syncthreads_and(int predicate, pycnn::cpu::Site site = pycnn::cpu::Site::here()) {
  return pycnn_barrier("__syncthreads_and", predicate, site) == int(pycnn::cpu::scheduler->threads());
}
inline int __syncthreads_or(int predicate, pycnn::cpu::Site site = pycnn::cpu::Site::here()) {
  return pycnn_barrier("__syncthreads_or", predicate, site) > 0;
}

// Waits until `count` threads of the block have come to barrier `id`, 1 to 15; in any line of the kernel.
inline void __barrier_sync_count(unsigned id, unsigned count, pycnn::cpu::Site site = pycnn::cpu::Site::here()) {
  pycnn::cpu::scheduler->barrier(int(id), int(count), "__barrier_sync_count", false, site);
}
