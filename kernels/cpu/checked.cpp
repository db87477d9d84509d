// The race detector of checked builds.
#include "checked.h"

#include <memory>

namespace pycnn::cpu {
namespace {

struct Stamp {
  uint64_t block = 0;  // which block of this OS thread; 0: never touched
  uint32_t block_epoch, warp_epoch;
  uint16_t thread;
  Access access;
};

// The last write of an element and its last reads by two different threads.
struct Shadow {
  Stamp write, read[2];
};

constexpr size_t kShadows = 256 * 1024;  // one per byte of the arena

Shadow& shadow_of(const void* p) {
  static thread_local std::unique_ptr<Shadow[]> shadows(new Shadow[kShadows]);
  return shadows[size_t(static_cast<const char*>(p) - scheduler->dynamic_shared())];
}

// Epochs step up at every synchronization, so an ordered access has a later one.
bool races(const Stamp& before, const Stamp& now) {
  if (before.block != now.block || before.thread == now.thread || before.block_epoch != now.block_epoch) return false;
  if (before.access == Access::atomic && now.access == Access::atomic) return false;
  return before.thread / 32 != now.thread / 32 || before.warp_epoch == now.warp_epoch;
}

std::string thread_text(unsigned rank) {
  return "thread (" + std::to_string(rank % blockDim.x) + "," + std::to_string(rank / blockDim.x % blockDim.y) + "," +
         std::to_string(rank / (blockDim.x * blockDim.y)) + ")";
}

const char* const kDone[] = {"read", "wrote", "updated atomically"};
const char* const kDoes[] = {"reads", "writes", "updates atomically"};

}  // namespace

std::string text(const SharedName& name, int64_t element) {
  std::string indices;
  for (int d = name.rank - 1; d > 0; d--) {
    indices = "[" + std::to_string(element % name.extents[d]) + "]" + indices;
    element /= name.extents[d];
  }
  return name.name + ("[" + std::to_string(element) + "]") + indices;
}

void record(const void* p, Access access, const SharedName& name, int64_t index) {
  const Scheduler& s = *scheduler;
  Stamp now{s.block_serial(), s.block_epoch(), s.warp_epoch(), uint16_t(s.thread()), access};
  Shadow& shadow = shadow_of(p);
  auto check = [&](const Stamp& before) {
    if (races(before, now))
      throw KernelError("race in " + s.place() + ": " + thread_text(now.thread) + " " + kDoes[int(access)] + " " +
                        text(name, index) + ", which " + thread_text(before.thread) + " " + kDone[int(before.access)] +
                        " with no barrier between");
  };
  check(shadow.write);
  if (access == Access::read) {
    if (shadow.read[0].block == now.block && shadow.read[0].thread != now.thread) shadow.read[1] = shadow.read[0];
    shadow.read[0] = now;
    return;
  }
  check(shadow.read[0]);
  check(shadow.read[1]);
  shadow.write = now;
}

void out_of_range(const SharedName& name, int dimension, int64_t index, int64_t extent) {
  std::string at = dimension < 0 ? "element " : "index ";
  std::string where = dimension < 0 ? "" : " of dimension " + std::to_string(dimension);
  scheduler->fail("out of range: " + at + std::to_string(index) + where + " of shared array " + name.name + ", extent " +
                  std::to_string(extent));
}

void misaligned(const SharedName& name, int64_t index, size_t alignment) {
  scheduler->fail("misaligned: " + text(name, index) + " is no multiple of " + std::to_string(alignment) + " bytes");
}

}  // namespace pycnn::cpu
