// Memory of CPU arrays, used again. The C library hands large blocks back to the system as soon as they are free, and the system
// clears every page of the next one again; a training step makes and drops the same arrays as the step before.
#pragma once
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <new>
#include <vector>

#include "../kernels/common/array.h"
#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace pycnn {
namespace py = pybind11;

struct Block {
  void* memory;
  size_t bytes;
};

// Free blocks, the one freed longest ago first. Used with Python's lock held, also from destructors of arrays.
class Pool {
 public:
  static constexpr size_t kSmallest = 1 << 18;  // smaller arrays stay the C library's, which keeps such blocks itself

  static Pool& instance() {
    static Pool* pool = new Pool;  // never destroyed: arrays may outlive the module
    return *pool;
  }

  // At least `bytes`, aligned to 64. Sizes are rounded up by at most 1/8, so that arrays of nearly equal sizes share blocks.
  Block take(size_t bytes) {
    size_t step = 64;
    while (step * 16 <= bytes) step *= 2;
    bytes = (bytes + step - 1) / step * step;
    for (size_t i = free_.size(); i-- > 0;) {
      if (free_[i].bytes != bytes) continue;
      const Block block = free_[i];
      free_.erase(free_.begin() + int64_t(i));
      kept_ -= bytes;
      return block;
    }
    void* memory = ::operator new(bytes, std::align_val_t(64));
#if defined(__linux__)
    const uintptr_t page = 4096, first = (reinterpret_cast<uintptr_t>(memory) + page - 1) / page * page;
    if (bytes >= size_t(4) << 20) madvise(reinterpret_cast<void*>(first), bytes - page, MADV_HUGEPAGE);  // as NumPy does
#endif
    return {memory, bytes};
  }

  void give(Block block) {
    free_.push_back(block);
    kept_ += block.bytes;
    shrink();
  }

  size_t kept() const { return kept_; }

  // Beyond the limit, the blocks freed longest ago go back to the system.
  void set_limit(size_t bytes) {
    limit_ = bytes;
    shrink();
  }

 private:
  void shrink() {
    int64_t gone = 0;
    for (; kept_ > limit_; gone++) {
      kept_ -= free_[size_t(gone)].bytes;
      ::operator delete(free_[size_t(gone)].memory, std::align_val_t(64));
    }
    free_.erase(free_.begin(), free_.begin() + gone);
  }

  std::vector<Block> free_;
  size_t kept_ = 0, limit_ = size_t(512) << 20;
};

// A new uninitialised array in C order. It and its views own a block together; the last of them gives it back.
inline py::array empty(const std::vector<py::ssize_t>& shape, const py::object& type) {
  const py::dtype dtype = py::dtype::from_args(type);
  size_t bytes = size_t(dtype.itemsize());
  for (py::ssize_t extent : shape) {
    if (extent < 0 || (extent && bytes > PTRDIFF_MAX / size_t(extent))) throw ShapeError("an array cannot have this shape");
    bytes *= size_t(extent);
  }
  if (bytes < Pool::kSmallest) return py::array(dtype, shape);
  auto* block = new Block(Pool::instance().take(bytes));
  py::capsule owner(block, [](void* p) {
    auto* block = static_cast<Block*>(p);
    Pool::instance().give(*block);
    delete block;
  });
  return py::array(dtype, shape, block->memory, owner);
}

}  // namespace pycnn
