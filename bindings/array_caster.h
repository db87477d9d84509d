// A NumPy or CuPy array seen as a pycnn::Array, without a copy. Everything else is refused by name.
#pragma once
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include "../kernels/common/plan.h"

namespace pycnn {
namespace py = pybind11;

inline DType dtype_from(const py::dtype& t, const char* argument) {
  const py::ssize_t bytes = t.itemsize();
  switch (t.kind()) {
    case 'f':
      if (bytes == 4) return DType::f32;
      if (bytes == 8) return DType::f64;
      if (bytes == 2) return DType::f16;
      break;
    case 'i':
      if (bytes == 4) return DType::i32;
      if (bytes == 8) return DType::i64;
      break;
    case 'u':
      if (bytes == 1) return DType::u8;
      break;
    case 'V':  // ml_dtypes.bfloat16
      if (bytes == 2 && t.char_() == 'E') return DType::bf16;
      break;
  }
  throw DTypeError(std::string("argument '") + argument + "' has dtype " + std::string(py::str(t)) +
                   "; pycnn stores float32, float64, float16, bfloat16, int32, int64 and uint8");
}

// Extents and byte strides must be C order with at most a pitch between pixels.
template <class Extent, class Stride>
void set_shape(Array& a, int rank, Extent extent, Stride stride, const char* argument) {
  if (rank > kMaxRank)
    throw ShapeError(std::string("argument '") + argument + "' has " + std::to_string(rank) + " axes; at most 6 are supported");
  const int64_t bytes = bytes_of(a.dtype);
  a.rank = rank;
  for (int d = 0; d < rank; d++) a.extent[d] = extent(d);
  a.pitch = a.last();
  if (a.size() == 0) return;
  bool dense = rank == 0 || a.extent[rank - 1] == 1 || stride(rank - 1) == bytes;
  if (rank >= 2) {
    int pixel = rank - 2;  // the innermost axis longer than 1 tells the pitch
    int64_t pixels = 1;
    while (pixel > 0 && a.extent[pixel] == 1) pixel--;
    if (a.extent[pixel] > 1) a.pitch = stride(pixel) / bytes;
    dense = dense && a.pitch >= a.last();
    for (int d = rank - 2; d >= 0; d--) {
      if (a.extent[d] > 1 && stride(d) != a.pitch * pixels * bytes) dense = false;
      pixels *= a.extent[d];
    }
  }
  if (!dense)
    throw ShapeError(std::string("argument '") + argument + "' is not C-contiguous; only the pitch between pixels may differ");
}

#if PYCNN_CUDA

// CuPy's attributes: __cuda_array_interface__ would build a dictionary, and a pycnn.Tensor has one too.
inline Array to_array(py::handle object, const char* argument) {
  Array a;
  if (object.is_none()) return a;
  const py::object memory = py::getattr(object, "data", py::none());
  if (!py::hasattr(memory, "device_id"))
    throw DeviceError(std::string("argument '") + argument + "' is a " +
                      std::string(py::str(py::type::of(object).attr("__name__"))) +
                      "; this op runs on the GPU and takes cupy.ndarray");
  a.dtype = dtype_from(py::dtype::from_args(py::reinterpret_borrow<py::object>(object.attr("dtype"))), argument);
  a.data = reinterpret_cast<void*>(memory.attr("ptr").cast<uintptr_t>());
  a.device = memory.attr("device_id").cast<int>();
  a.writable = true;
  py::tuple shape = object.attr("shape"), strides = object.attr("strides");
  set_shape(a, int(shape.size()), [&](int d) { return shape[d].cast<int64_t>(); },
            [&](int d) { return strides[d].cast<int64_t>(); }, argument);
  return a;
}

#else

inline Array to_array(py::handle object, const char* argument) {
  Array a;
  if (object.is_none()) return a;
  if (!py::isinstance<py::array>(object))
    throw DeviceError(std::string("argument '") + argument + "' is a " +
                      std::string(py::str(py::type::of(object).attr("__name__"))) +
                      "; this op runs on the CPU and takes numpy.ndarray");
  auto array = py::reinterpret_borrow<py::array>(object);
  a.dtype = dtype_from(array.dtype(), argument);
  a.data = const_cast<void*>(array.data());
  a.writable = array.writeable();
  set_shape(a, int(array.ndim()), [&](int d) { return int64_t(array.shape(d)); },
            [&](int d) { return int64_t(array.strides(d)); }, argument);
  return a;
}

#endif

}  // namespace pycnn
