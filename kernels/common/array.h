// Arrays as the kernels see them: a pointer, a shape in memory order, and the errors that refuse one.
#pragma once
#include <array>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "types.h"

namespace pycnn {

// Each becomes the Python exception of the same name (pycnn/errors.py).
struct ShapeError : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};
struct DTypeError : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};
struct DeviceError : std::runtime_error {
  using std::runtime_error::runtime_error;
};
struct NotSupported : std::runtime_error {
  using std::runtime_error::runtime_error;
};
struct LaunchError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

inline constexpr int kMaxRank = 6;
using Extents = std::vector<int64_t>;

inline std::string to_string(const int64_t* extent, int rank) {
  std::string text = "(";
  for (int i = 0; i < rank; i++) text += (i ? ", " : "") + std::to_string(extent[i]);
  return text + (rank == 1 ? ",)" : ")");
}
inline std::string to_string(const Extents& extents) { return to_string(extents.data(), int(extents.size())); }

// Dense in memory order but for one stride: `pitch`, the elements from one pixel to the next, may exceed the
// last extent, so that an Array can be a slice of channels. A missing optional array has rank -1.
struct Array {
  void* data = nullptr;
  DType dtype = DType::f32;
  int rank = -1;
  bool writable = false;
  int device = -1;  // CUDA ordinal, -1 = host memory
  int64_t extent[kMaxRank] = {};
  int64_t pitch = 0;

  explicit operator bool() const { return rank >= 0; }
  int64_t last() const { return rank ? extent[rank - 1] : 1; }
  bool dense() const { return pitch == last(); }
  int64_t size() const {
    int64_t n = 1;
    for (int i = 0; i < rank; i++) n *= extent[i];
    return n;
  }

  // The typed pointer; nullptr for a missing array. The dtype was checked against the plan's signature.
  template <class T>
  T* as() const {
    return rank < 0 ? nullptr : static_cast<T*>(data);
  }
};

}  // namespace pycnn
