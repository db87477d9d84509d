/*
Element-wise map of two arrays with broadcasting, version 2: broadcast_1_plain with a block of the two innermost axes per thread.

Math      y[i] = f(a[...], b[...]), a and b repeated along the axes they lack
Memory    axes that can be walked as one are joined first; innermost strides 1 and 0 have loops of their own
Threads   a strip of up to kStrip elements of a row each; on a CPU of several rows, where rows are short
Limit     on a GPU an innermost axis shorter than a strip leaves threads with few elements
Next      -
Storage   float half bfloat16 double
*/
#include "../common/strip.h"
#include "elementwise.h"

namespace pycnn {

// A stride known to the compiler.
template <int n>
struct Step {
  __device__ constexpr operator int64_t() const { return n; }
};

struct BroadcastCut {
  int64_t rows, across, down;  // rows of a thread; threads along the innermost axis and the one before
};

template <class F, class T>
__global__ void broadcast_kernel2(const T* a, const T* b, T* y, Strided<3> s, BroadcastCut cut, int64_t threads) {
  using A = Accumulator<T>;
  const int64_t thread = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (thread >= threads) return;
  constexpr int u = kMaxRank - 2, v = kMaxRank - 1;
  const int64_t line = thread / cut.across, column = (thread - line * cut.across) * kStrip<T>;
  const int64_t plane = line / cut.down, first = (line - plane * cut.down) * cut.rows;
  const int count = int(s.extent[v] - column < kStrip<T> ? s.extent[v] - column : kStrip<T>);
  const int64_t a_step = s.stride[1][v], b_step = s.stride[2][v];

  int64_t at[3];
  s.offsets((plane * s.extent[u] + first) * s.extent[v] + column, at);
  y += at[0], a += at[1], b += at[2];
  for (int64_t row = first; row < first + cut.rows && row < s.extent[u]; row++) {
    auto run = [&](auto a_step, auto b_step) {
      for_strip<T>(count, [&](int j) { y[j] = T(F::template apply<A>(A(a[j * a_step]), A(b[j * b_step]))); });
    };
    if (a_step == 1 && b_step == 1) run(Step<1>(), Step<1>());
    else if (a_step == 1 && b_step == 0) run(Step<1>(), Step<0>());
    else if (a_step == 0 && b_step == 1) run(Step<0>(), Step<1>());
    else run(a_step, b_step);
    y += s.stride[0][u], a += s.stride[1][u], b += s.stride[2][u];
  }
}

template <class F, class T>
void broadcast2(const Plan& plan, Array a, Array b, Array y) {
  const Strided<3> s = plan.problem<BroadcastShape>().strided().collapsed();
  if (s.size() == 0) return;
  const int64_t rows = s.extent[kMaxRank - 2], length = s.extent[kMaxRank - 1];
  BroadcastCut cut{PYCNN_CUDA ? 1 : ceil_div(kStrip<T>, length), ceil_div(length, kStrip<T>), 0};
  cut.down = ceil_div(rows, cut.rows);
  const int64_t threads = s.size() / (rows * length) * cut.down * cut.across;
  launch<broadcast_kernel2<F, T>>({grid_size(ceil_div(threads, 256)), 256}, a.as<const T>(), b.as<const T>(), y.as<T>(), s, cut,
                                  threads);
}

template <class F, class T>
bool register_broadcast2() {
  REGISTER_VERSION(Broadcast<F>, strips, 2, "a block of the two innermost axes per thread, axes joined",
                   supports_all<BroadcastShape>, (broadcast2<F, T>));
  return true;
}

template <class T, class... F>
bool register_broadcasts2(List<F...>) {
  return (register_broadcast2<F, T>() && ...);
}
static const bool registered = register_broadcasts2<STORAGE>(BroadcastFunctors{});

}  // namespace pycnn
