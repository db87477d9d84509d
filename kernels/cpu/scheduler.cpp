// The scheduler: which thread of a block runs next.
#include "scheduler.h"

#include <cstring>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "report.h"
#include "thread_pool.h"

namespace pycnn::cpu {

// Where the static shared arrays of a launch lie: after the dynamic part, in the order their declarations were met.
struct SharedLayout {
  std::mutex mutex;
  size_t used;  // bytes of the arena
  size_t static_bytes = 0;
  std::vector<std::pair<const void*, size_t>> offsets;
};

namespace {

std::atomic<int> thread_order{int(Order::forward)};
std::atomic<uint64_t> order_seed{0};
std::atomic<uint64_t> launches{0};

constexpr size_t round_up(size_t n, size_t unit) { return (n + unit - 1) / unit * unit; }

// Steele, Lea, Flood: Fast splittable pseudorandom number generators (2014).
uint64_t splitmix(uint64_t& state) {
  uint64_t z = state += 0x9e3779b97f4a7c15;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
  z = (z ^ z >> 27) * 0x94d049bb133111eb;
  return z ^ z >> 31;
}

std::string text(dim3 d) { return "(" + std::to_string(d.x) + "," + std::to_string(d.y) + "," + std::to_string(d.z) + ")"; }

void check_limits(const Launch& launch) {
  auto refuse = [&](const std::string& what) {
    throw LaunchError("kernel " + std::string(kernel_name(launch.name)) + ": " + what);
  };
  const dim3 block = launch.block, grid = launch.grid;
  uint64_t threads = uint64_t(block.x) * block.y * block.z;
  if (threads == 0 || block.x > kMaxThreads || block.y > kMaxThreads || threads > kMaxThreads)
    refuse("a block of " + text(block) + " threads; a GPU allows 1 to 1024");
  if (block.z > 64) refuse("a block of " + text(block) + " threads; a GPU allows 64 along z");
  if (grid.x > INT32_MAX || grid.y > 65535 || grid.z > 65535)
    refuse("a grid of " + text(grid) + " blocks; a GPU allows (2147483647,65535,65535)");
  if (launch.dynamic_shared > kMaxShared)
    refuse(std::to_string(launch.dynamic_shared) + " bytes of shared memory; a GPU allows " + std::to_string(kMaxShared));
}

// Of this OS thread, made when it first runs blocks.
Scheduler& own_scheduler() {
  static thread_local std::unique_ptr<Scheduler> own;
  if (!own) {
    own = std::make_unique<Scheduler>();
    watch_stacks();
  }
  return *own;
}

}  // namespace

void set_thread_order(Order order, uint64_t seed) {
  thread_order = int(order);
  order_seed = seed;
}

void run(Launch& launch) {
  if (scheduler) throw LaunchError("kernel " + std::string(kernel_name(launch.name)) + " was launched inside a kernel");
  int64_t blocks = int64_t(launch.grid.x) * launch.grid.y * launch.grid.z;
  if (blocks == 0) return;
  check_limits(launch);
  SharedLayout layout;
  layout.used = round_up(launch.dynamic_shared, 128);
  launch.shared = &layout;
  launch.id = ++launches;

  struct Job {
    Launch& launch;
    int64_t blocks;
    int parts;
  } job{launch, blocks, int(blocks < get_num_threads() ? blocks : get_num_threads())};
  run_parts(job.parts, [](void* data, int part) {
    Job& j = *static_cast<Job*>(data);
    own_scheduler().run_blocks(j.launch, j.blocks / j.parts * part + j.blocks % j.parts * part / j.parts,
                               j.blocks / j.parts * (part + 1) + j.blocks % j.parts * (part + 1) / j.parts);
  }, &job);
}

// ---- blocks ----------------------------------------------------------------------------------------------------

void Scheduler::run_blocks(Launch& launch, int64_t first, int64_t end) {
  launch_ = &launch;
  scheduler = this;
  gridDim = launch.grid;
  blockDim = launch.block;
  threads_ = blockDim.x * blockDim.y * blockDim.z;
  end_ = end;
  poisoned_ = 0;
  poisoned_ = round_up(launch.dynamic_shared, 128);
  set_order();
  if (begin_block(first)) {
    live_ = 1;
    running_ = stacks_.take(enter_fiber);
    switch_context(home_, running_->context);
  }
  scheduler = nullptr;
  launch_ = nullptr;
  if (!error_) return;

  launch.failed = true;
  stacks_.reset();
  ready_ = Queue();
  for (Barrier& barrier : barriers_) barrier = Barrier();
  for (Warp& warp : warps_) warp.groups = 0;
  std::rethrow_exception(std::exchange(error_, nullptr));
}

// Makes `block` the one to run. False when there is none left.
bool Scheduler::begin_block(int64_t block) {
  if (block >= end_ || launch_->failed.load(std::memory_order_relaxed)) return false;
  block_ = block;
  uint64_t row = uint64_t(block) / gridDim.x;
  blockIdx = {unsigned(uint64_t(block) % gridDim.x), unsigned(row % gridDim.y), unsigned(row / gridDim.y)};
  next_ = 0;
  serial_++;
  if (poisoned_) std::memset(arena_, 0xff, poisoned_);
  if (thread_order == int(Order::random)) set_order();
  return true;
}

void Scheduler::set_order() {
  Order order = Order(thread_order.load());
  bool known = order == order_is_ && order != Order::random && blockDim.x == order_of_.x && blockDim.y == order_of_.y &&
               blockDim.z == order_of_.z;
  if (known) return;
  order_is_ = order;
  order_of_ = blockDim;
  uint3* place = order_;
  for (unsigned z = 0; z < blockDim.z; z++)
    for (unsigned y = 0; y < blockDim.y; y++)
      for (unsigned x = 0; x < blockDim.x; x++) *place++ = {x, y, z};
  if (order == Order::reverse)
    for (unsigned i = 0; i < threads_ / 2; i++) std::swap(order_[i], order_[threads_ - 1 - i]);
  if (order == Order::random) {
    uint64_t state = order_seed + uint64_t(block_) * 0xd1342543de82ef95;
    for (unsigned i = threads_; i > 1; i--) std::swap(order_[i - 1], order_[splitmix(state) % i]);
  }
}

size_t Scheduler::place_shared(std::atomic<uint64_t>& place, size_t bytes) {
  SharedLayout& layout = *launch_->shared;
  std::lock_guard<std::mutex> lock(layout.mutex);
  size_t offset = kArenaBytes;
  for (auto& known : layout.offsets)
    if (known.first == &place) offset = known.second;
  if (offset == kArenaBytes) {
    offset = round_up(layout.used, 128);
    layout.static_bytes += round_up(bytes, 16);
    if (layout.static_bytes > kMaxStaticShared)
      fail(std::to_string(layout.static_bytes) + " bytes of static shared memory; a GPU allows " +
           std::to_string(kMaxStaticShared));
    if (launch_->dynamic_shared + layout.static_bytes > kMaxShared)
      fail(std::to_string(launch_->dynamic_shared + layout.static_bytes) + " bytes of shared memory; a GPU allows " +
           std::to_string(kMaxShared));
    layout.offsets.emplace_back(&place, offset);
    layout.used = offset + bytes;
  }
  if (offset + bytes > poisoned_) {
    std::memset(arena_ + poisoned_, 0xff, offset + bytes - poisoned_);
    poisoned_ = offset + bytes;
  }
  place = launch_->id * kArenaBytes + offset;
  return offset;
}

// ---- fibers ----------------------------------------------------------------------------------------------------

void Scheduler::enter_fiber() {
  Scheduler& s = *scheduler;
  try {
    s.launch_->run_threads(s, s.launch_->kernel);
  } catch (...) {
    s.error_ = std::current_exception();
  }
  Fiber* self = s.running_;
  s.stacks_.give_back(self);
  s.live_--;
  if (!s.error_ && s.ready_.first) s.resume(s.ready_.pop());
  switch_context(self->context, s.home_);
}

// Called by run_threads after a thread has returned. False when its fiber is to end.
bool Scheduler::carry_on() {
  if (ready_.first) return false;
  if (next_ < threads_) return true;
  if (live_ > 1) report_deadlock();
  return begin_block(block_ + 1);
}

void Scheduler::resume(Fiber* fiber) {
  Fiber* self = std::exchange(running_, fiber);
  threadIdx = fiber->thread;
  fiber->waits = nullptr;
  switch_context(self->context, fiber->context);
}

void Scheduler::wait_in(Queue& queue, const char* name, uint32_t mask, Site site) {
  running_->thread = threadIdx;
  running_->waits = name;
  running_->mask = mask;
  running_->site = site;
  queue.push(running_);
}

// Goes on with another thread until the calling one is taken from ready_.
void Scheduler::suspend() {
  if (ready_.first) {
    Fiber* fiber = ready_.pop();
    if (fiber == running_) {
      fiber->waits = nullptr;
      return;
    }
    resume(fiber);
  } else if (next_ < threads_) {
    live_++;
    resume(stacks_.take(enter_fiber));
  } else {
    report_deadlock();
  }
}

// ---- waits -----------------------------------------------------------------------------------------------------

int Scheduler::barrier(int id, int count, const char* name, bool predicate, Site site) {
  if (id < 0 || id >= kBarriers || count <= 0 || count > int(threads_))
    fail(std::string(name) + " of barrier " + std::to_string(id) + " for " + std::to_string(count) + " threads");
  Barrier& b = barriers_[id];
  if (b.arrived == 0) b.site = site;
  else if (id == 0 && !(b.site == site)) report_divergence(*b.waiting.first, name, site);
  wait_in(b.waiting, name, 0, site);
  b.sum += predicate;
  if (++b.arrived == count) {
    b.result = std::exchange(b.sum, 0);
    b.arrived = 0;
    block_epoch_++;
    ready_.append(b.waiting);
  }
  suspend();
  return b.result;
}

uint64_t Scheduler::collective(const Collective& what, uint32_t mask, uint64_t value, int argument, Site site) {
  unsigned rank = thread(), lane = rank % 32;
  Warp& warp = warps_[rank / 32];
  unsigned exist = threads_ - rank / 32 * 32;  // a last warp may be short; its missing lanes are not waited for
  if (exist < 32) mask &= (1u << exist) - 1;
  if (!(mask >> lane & 1)) fail(std::string(what.name) + " with a mask that lacks the calling lane");

  Group* group = warp.group;
  Group* none = warp.group + warp.groups;
  while (group != none && group->mask != mask) group++;
  if (group == none) {
    warp.groups++;
    *group = {mask, 0, &what, Queue()};
  } else if (group->what != &what) {
    report_divergence(*group->waiting.first, what.name, site);
  }
  warp.value[lane] = value;
  warp.argument[lane] = argument;
  group->arrived |= 1u << lane;
  wait_in(group->waiting, what.name, mask, site);
  if (group->arrived == mask) {
    if (what.compute) what.compute(mask, warp.argument, warp.value);
    else warp.epoch++;
    ready_.append(group->waiting);
    *group = warp.group[--warp.groups];
  }
  suspend();
  return warp.value[lane];
}

}  // namespace pycnn::cpu
