// Shared memory that checks itself (-DPYCNN_CHECKED=1): every index against its extent, and every access against those
// of the block's other threads. Two threads race when they touch one element, at least one of them writes, not both do
// so atomically, and no __syncthreads lies between, nor (within a warp) a __syncwarp. Arrays become objects that behave
// like arrays; elements are compared by their first byte, so views of different element size are not.
#pragma once
#include <memory>
#include <string>
#include <type_traits>

#include "atomics.h"
#include "scheduler.h"

namespace pycnn {
namespace cpu {

struct SharedName {
  const char* name;
  const int64_t* extents;  // nullptr for a dynamic array, of one
  int rank;
};

std::string text(const SharedName& name, int64_t element);

enum class Access : uint8_t { read, write, atomic };

// Records that the calling thread touches the element at `p`, the `index`-th of the array.
void record(const void* p, Access access, const SharedName& name, int64_t index);
[[noreturn]] void out_of_range(const SharedName& name, int dimension, int64_t index, int64_t extent);
[[noreturn]] void misaligned(const SharedName& name, int64_t index, size_t alignment);

template <class T> class Element;

}  // namespace cpu

// A pointer into a shared array.
template <class T>
class SharedPointer {
 public:
  using Value = std::remove_const_t<T>;

  SharedPointer() = default;
  SharedPointer(T* p, T* begin, T* end, const cpu::SharedName& name) : p_(p), begin_(begin), end_(end), name_(&name) {}
  template <class U, class = std::enable_if_t<std::is_same_v<T, const U>>>
  SharedPointer(const SharedPointer<U>& other) : p_(other.p_), begin_(other.begin_), end_(other.end_), name_(other.name_) {}

  cpu::Element<T> operator*() const { return {*this}; }
  template <class I, class = std::enable_if_t<std::is_integral_v<I>>>
  cpu::Element<T> operator[](I i) const {
    return {*this + i};
  }
  template <class I, class = std::enable_if_t<std::is_integral_v<I>>>
  SharedPointer operator+(I i) const {
    return {p_ + i, begin_, end_, *name_};
  }
  template <class I, class = std::enable_if_t<std::is_integral_v<I>>>
  SharedPointer operator-(I i) const {
    return {p_ - i, begin_, end_, *name_};
  }
  ptrdiff_t operator-(const SharedPointer& other) const { return p_ - other.p_; }
  template <class I> SharedPointer& operator+=(I i) { return p_ += i, *this; }
  template <class I> SharedPointer& operator-=(I i) { return p_ -= i, *this; }
  SharedPointer& operator++() { return ++p_, *this; }
  bool operator==(const SharedPointer& other) const { return p_ == other.p_; }
  bool operator!=(const SharedPointer& other) const { return p_ != other.p_; }
  bool operator<(const SharedPointer& other) const { return p_ < other.p_; }

  // The plain pointer; what is done with it is not checked.
  T* get() const { return p_; }
  operator T*() const { return p_; }

  // The `n` elements from here on, checked and recorded, aligned to `alignment` bytes.
  T* access(int n, cpu::Access access, size_t alignment = alignof(T)) const {
    int64_t first = p_ - begin_, size = end_ - begin_;
    if (first < 0 || first + n > size) cpu::out_of_range(*name_, -1, first < 0 ? first : first + n - 1, size);
    if (reinterpret_cast<uintptr_t>(p_) % alignment) cpu::misaligned(*name_, first, alignment);
    for (int i = 0; i < n; i++) cpu::record(p_ + i, access, *name_, first + i);
    return p_;
  }

 private:
  template <class U> friend class SharedPointer;
  T* p_ = nullptr;
  T* begin_ = nullptr;
  T* end_ = nullptr;
  const cpu::SharedName* name_ = nullptr;
};

namespace cpu {

// What indexing gives: reads and writes go through the check.
template <class T>
class Element {
 public:
  using Value = std::remove_const_t<T>;
  Element(const SharedPointer<T>& p) : p_(p) {}
  Element(const Element&) = default;

  operator Value() const { return *p_.access(1, Access::read); }
  template <class U, class = std::enable_if_t<!std::is_same_v<U, Value> && !std::is_convertible_v<Value, U>>>
  explicit operator U() const {
    return U(*p_.access(1, Access::read));
  }
  SharedPointer<T> operator&() const { return p_; }

  const Element& operator=(const Element& other) const { return *this = Value(other); }
  const Element& operator=(const Value& value) const { return *p_.access(1, Access::write) = value, *this; }
  template <class U> const Element& operator+=(const U& u) const { return *this = Value(Value(*this) + u); }
  template <class U> const Element& operator-=(const U& u) const { return *this = Value(Value(*this) - u); }
  template <class U> const Element& operator*=(const U& u) const { return *this = Value(Value(*this) * u); }
  template <class U> const Element& operator/=(const U& u) const { return *this = Value(Value(*this) / u); }
  template <class U> const Element& operator|=(const U& u) const { return *this = Value(Value(*this) | u); }
  template <class U> const Element& operator&=(const U& u) const { return *this = Value(Value(*this) & u); }
  template <class U> const Element& operator^=(const U& u) const { return *this = Value(Value(*this) ^ u); }
  const Element& operator++() const { return *this += 1; }
  const Element& operator--() const { return *this -= 1; }
  Value operator++(int) const {
    Value old = *this;
    return *this += 1, old;
  }
  Value operator--(int) const {
    Value old = *this;
    return *this -= 1, old;
  }

 private:
  SharedPointer<T> p_;
};

// T name[n][rest]..., or a row of one.
template <class T, int64_t n, int64_t... rest>
class SharedArray {
 public:
  template <class Array>
  SharedArray(Array* array, const SharedName& name) {
    T* begin = reinterpret_cast<T*>(array);
    p_ = {begin, begin, begin + sizeof(Array) / sizeof(T), name};
    name_ = &name;
  }
  SharedArray(const SharedPointer<T>& p, const SharedName& name) : p_(p), name_(&name) {}

  template <class I>
  auto operator[](I index) const {
    if (int64_t(index) < 0 || int64_t(index) >= n)
      out_of_range(*name_, name_->rank - 1 - int(sizeof...(rest)), int64_t(index), n);
    if constexpr (sizeof...(rest) == 0) return Element<T>(p_ + index);
    else return SharedArray<T, rest...>(p_ + int64_t(index) * (rest * ...), *name_);
  }
  auto operator*() const { return (*this)[0]; }
  template <class I>
  SharedPointer<T> operator+(I i) const {
    return p_ + i;
  }
  operator SharedPointer<T>() const { return p_; }
  operator SharedPointer<const T>() const { return p_; }
  operator T*() const { return p_; }

 private:
  SharedPointer<T> p_;
  const SharedName* name_;
};

template <class T>
SharedPointer<T> dynamic_shared(const SharedName& name) {
  T* begin = reinterpret_cast<T*>(scheduler->dynamic_shared());
  return {begin, begin, begin + scheduler->dynamic_shared_bytes() / sizeof(T), name};
}

}  // namespace cpu
}  // namespace pycnn

#define PYCNN_ATOMIC(function)                                               \
  template <class T, class... Args>                                          \
  inline T function(const pycnn::SharedPointer<T>& p, const Args&... args) { \
    return function(p.access(1, pycnn::cpu::Access::atomic), T(args)...);    \
  }
PYCNN_ATOMIC(atomicAdd)
PYCNN_ATOMIC(atomicSub)
PYCNN_ATOMIC(atomicMin)
PYCNN_ATOMIC(atomicMax)
PYCNN_ATOMIC(atomicExch)
PYCNN_ATOMIC(atomicCAS)
PYCNN_ATOMIC(atomicAnd)
PYCNN_ATOMIC(atomicOr)
PYCNN_ATOMIC(atomicXor)
PYCNN_ATOMIC(atomicInc)
PYCNN_ATOMIC(atomicDec)
#undef PYCNN_ATOMIC
