// OS threads that share out the blocks of a launch and the loops of host kernels.
#pragma once
#include <cstdint>

namespace pycnn::cpu {

// How many OS threads compute, the calling one included. The default is PYCNN_NUM_THREADS, else the processors this
// process may run on. No result depends on it.
int get_num_threads();
void set_num_threads(int count);

// Calls part(data, i) for i in [0, parts), parts <= get_num_threads(): part 0 on the calling thread, the others on
// threads of the pool. Returns when all have returned, and throws the exception of the lowest part that threw.
// Within a part all parts run on the calling thread. Callers from several threads take turns.
void run_parts(int parts, void (*part)(void* data, int i), void* data);

// Calls f(i) for i in [0, n). Each OS thread takes one contiguous range, cut by n and the number of threads alone.
template <class F>
void parallel_for(int64_t n, F&& f) {
  struct Range {
    int64_t n;
    int parts;
    F& f;
  } range{n, int(n < get_num_threads() ? n : get_num_threads()), f};
  auto part = [](void* data, int i) {
    Range& r = *static_cast<Range*>(data);
    int64_t end = r.n * (i + 1) / r.parts;
    for (int64_t j = r.n * i / r.parts; j < end; j++) r.f(j);
  };
  if (n > 0) run_parts(range.parts, part, &range);
}

}  // namespace pycnn::cpu
