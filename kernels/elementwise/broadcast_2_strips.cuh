/*
Element-wise map of two arrays with broadcasting, version 2: broadcast_1_plain with a strip of the innermost axis per thread.

Math      y[i] = f(a[...], b[...]), a and b repeated along the axes they lack
Memory    axes that can be walked as one are joined first; innermost strides 1 and 0 have loops of their own
Threads   a strip of up to kStrip elements of one row each
Limit     an innermost axis much shorter than a strip: the divisions for the row's place come back
Next      -
Storage   float half bfloat16 double
*/
#include "../common/strip.h"
#include "elementwise.h"

namespace pycnn {

template <class F, class T>
__global__ void broadcast_kernel2(const T* a, const T* b, T* y, Strided<3> s, int64_t threads, int64_t strips) {
  using A = Accumulator<T>;
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= threads) return;
  constexpr int last = kMaxRank - 1;
  const int64_t row = i / strips, column = (i - row * strips) * kStrip<T>, length = s.extent[last];
  const int64_t a_step = s.stride[1][last], b_step = s.stride[2][last];

  int64_t at[3];
  s.offsets(row * length + column, at);
  a += at[1], b += at[2], y += at[0];
  const int count = int(length - column < kStrip<T> ? length - column : kStrip<T>);
  A u[kStrip<T>], v[kStrip<T>];
  auto read = [&](const T* p, int64_t step, A(&value)[kStrip<T>]) {
    if (step == 1) for_strip<T>(count, [&](int j) { value[j] = A(p[j]); });
    else if (step == 0) for_strip<T>(count, [&](int j) { value[j] = A(*p); });
    else for_strip<T>(count, [&](int j) { value[j] = A(p[j * step]); });
  };
  read(a, a_step, u);
  read(b, b_step, v);
  for_strip<T>(count, [&](int j) { y[j] = T(F::template apply<A>(u[j], v[j])); });
}

template <class F, class T>
void broadcast2(const Plan& plan, Array a, Array b, Array y) {
  const Strided<3> s = plan.problem<BroadcastShape>().strided().collapsed();
  if (s.size() == 0) return;
  const int64_t length = s.extent[kMaxRank - 1], strips = ceil_div(length, kStrip<T>), threads = s.size() / length * strips;
  launch<broadcast_kernel2<F, T>>({grid_size(ceil_div(threads, 256)), 256}, a.as<const T>(), b.as<const T>(), y.as<T>(), s,
                                  threads, strips);
}

template <class F, class T>
bool register_broadcast2() {
  REGISTER_VERSION(Broadcast<F>, strips, 2, "a strip of the innermost axis per thread, axes joined", supports_all<BroadcastShape>,
                   (broadcast2<F, T>));
  return true;
}

template <class T, class... F>
bool register_all(List<F...>) { return (register_broadcast2<F, T>() && ...); }
static const bool registered = register_all<STORAGE>(BroadcastFunctors{});

}  // namespace pycnn
