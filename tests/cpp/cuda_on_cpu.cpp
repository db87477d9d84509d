// Tests of kernels/cpu: the kernels of kernels.h on a host compiler, against what CUDA says they give.
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>
#include <thread>

#include "check.h"
#include "kernels.h"

using namespace pycnn;
using namespace pycnn::test;

namespace {

// Runs `f` with the threads of a block in each order, on 1, 2 and 3 OS threads.
template <class F>
void in_every_way(F f) {
  for (auto order : {cpu::Order::forward, cpu::Order::reverse, cpu::Order::random})
    for (int threads : {1, 2, 3}) {
      cpu::set_thread_order(order, 7);
      cpu::set_num_threads(threads);
      f();
    }
  cpu::set_thread_order(cpu::Order::forward);
}

std::vector<float> ramp(int n) {
  std::vector<float> x(n);
  for (int i = 0; i < n; i++) x[i] = float((i * 7919 + 13) % 1001) - 500;
  return x;
}

}  // namespace

// ---- indices, geometry, limits ----

TEST(every_thread_of_the_grid_runs_once) {
  in_every_way([] {
    for (auto [grid, block] :
         {std::pair<dim3, dim3>{{3, 2, 4}, {5, 3, 2}}, {{7}, {33}}, {{1, 1, 9}, {1, 1, 64}}, {{2, 5}, {1024}}}) {
      std::vector<int64_t> y(size_t(grid.x) * grid.y * grid.z * block.x * block.y * block.z);
      launch<write_indices>({grid, block}, y.data());
      for (size_t i = 0; i < y.size(); i++) CHECK(y[i] == int64_t(i) + 1);
    }
  });
}

TEST(an_empty_grid_does_nothing) {
  launch<write_indices>({dim3(0), dim3(32)}, static_cast<int64_t*>(nullptr));
  launch<write_indices>({dim3(5, 0, 2), dim3(32)}, static_cast<int64_t*>(nullptr));
}

TEST(limits_of_a_gpu_hold) {
  auto refusal = [](dim3 grid, dim3 block, size_t shared = 0) {
    return message_of<LaunchError>([=] { launch<many_barriers>({grid, block, shared}, 0); });
  };
  CHECK(contains(refusal({1}, {1025}), "many_barriers", "(1025,1,1)", "1024"));
  CHECK(contains(refusal({1}, {32, 33}), "(32,33,1)", "1024"));
  CHECK(contains(refusal({1}, {0}), "(0,1,1)"));
  CHECK(contains(refusal({1}, {1u << 31, 2, 1}), "1024"));
  CHECK(contains(refusal({1}, {1, 1, 65}), "(1,1,65)", "64"));
  CHECK(contains(refusal({1, 65536}, {1}), "(1,65536,1)", "65535"));
  CHECK(contains(refusal({1, 1, 65536}, {1}), "(1,1,65536)"));
  CHECK(contains(refusal({1u << 31}, {1}), "2147483648"));
  CHECK(contains(refusal({1}, {1}, 227 * 1024 + 1), "232449 bytes of shared memory", "232448"));
  launch<many_barriers>({dim3(1), dim3(1), 227 * 1024}, 0);
  CHECK(contains(message_of<LaunchError>([] { launch<static_beyond>({dim3(1), dim3(32)}); }), "static_beyond",
                 "65536 bytes of static shared memory", "49152"));
  CHECK(contains(message_of<LaunchError>([] { launch<static_and_dynamic>({dim3(1), dim3(32), 225 * 1024}); }),
                 "234496 bytes of shared memory"));
  launch<static_and_dynamic>({dim3(1), dim3(32), 223 * 1024});
}

// ---- shared memory ----

TEST(shared_tiles) {
  const int n = 96;
  std::vector<float> x = ramp(n * n);
  std::vector<half> xh(n * n), yh(n * n);
  for (int i = 0; i < n * n; i++) xh[i] = half(x[i]);
  in_every_way([&] {
    std::vector<float> y(n * n);
    launch<transpose<float>>({dim3(n / 32, n / 32), dim3(32, 8)}, x.data(), y.data(), n);
    launch<transpose<half>>({dim3(n / 32, n / 32), dim3(32, 8)}, xh.data(), yh.data(), n);
    for (int i = 0; i < n; i++)
      for (int j = 0; j < n; j++) CHECK(y[i * n + j] == x[j * n + i] && yh[i * n + j] == xh[j * n + i]);
  });
}

TEST(shared_trees_and_scans) {
  std::vector<float> x = ramp(5 * 256);
  in_every_way([&] {
    std::vector<float> sums(5), prefix(5 * 256);
    launch<tree_sum>({dim3(5), dim3(256)}, x.data(), sums.data());
    launch<scan>({dim3(5), dim3(256)}, x.data(), prefix.data());
    for (int b = 0; b < 5; b++) {
      CHECK(sums[b] == std::accumulate(&x[b * 256], &x[b * 256] + 256, 0.0f));
      for (int i = 0; i < 256; i++) CHECK(prefix[b * 256 + i] == std::accumulate(&x[b * 256], &x[b * 256 + i + 1], 0.0f));
    }
  });
}

TEST(dynamic_shared_memory) {
  alignas(16) float x[8 * 64], y[8 * 64];
  for (int i = 0; i < 8 * 64; i++) x[i] = float(i);
  in_every_way([&] {
    launch<swap_halves>({dim3(1), dim3(64), sizeof x}, x, y);
    for (int i = 0; i < 256; i++) CHECK(y[i] == x[256 + i] && y[256 + i] == x[i]);
  });
}

TEST(shared_memory_starts_as_nan) {
  in_every_way([&] {
    std::vector<int> nan(7 * 64);
    launch<read_poison>({dim3(7), dim3(64), 64 * sizeof(float)}, nan.data());
    for (int v : nan) CHECK(v == 2);
  });
}

TEST(shared_memory_has_32_bit_addresses) {
  uint64_t y[4];
  launch<shared_addresses>({dim3(1), dim3(32), 40}, y);
  CHECK(y[0] % 128 == 0 && y[1] == y[0] + 24 && y[2] % 16 == 0 && y[3] == y[2] + 20 && y[3] < 228 * 1024 && y[2] >= y[0] + 40);
}

// ---- barriers and warps ----

TEST(barriers_that_count) {
  in_every_way([] {
    std::vector<int> y(5 * 70);
    launch<counting_barriers>({dim3(1), dim3(70)}, y.data());
    for (int t = 0; t < 70; t++) {
      const int* r = &y[size_t(t) * 5];
      CHECK(r[0] == 35 && !r[1] && r[2] && r[3] && !r[4]);
    }
  });
}

TEST(barriers_by_number) {
  in_every_way([] {
    std::vector<int> y(128), v(128), before;
    std::iota(v.begin(), v.end(), 0);
    for (int i = 0; i < 5; i++) {
      before = v;
      for (int t = i < 3 ? 0 : 64; t < 128; t++) v[t] += before[t / 64 * 64 + (t + 1) % 64];
    }
    launch<named_barriers>({dim3(2), dim3(128)}, y.data());
    for (int t = 0; t < 128; t++) CHECK(y[t] == v[127 - t]);
    auto text = message_of<cpu::KernelError>([] { launch<lonely_at_a_named_barrier>({dim3(1), dim3(64)}); });
    CHECK(contains(text, "thread (0,0,0) waits at __barrier_sync_count()", "thread (40,0,0) has returned"));
  });
}

template <class T>
void check_shuffles(int argument, int width) {
  const int n = 64;
  std::vector<T> y(4 * n);
  launch<shuffles<T>>({dim3(1), dim3(n)}, y.data(), argument, width);
  for (int t = 0; t < n; t++) {
    int lane = t % 32, warp = t - lane, first = lane / width * width, last = first + width - 1;
    auto value = [&](int from) { return T(float(3 * (warp + from) + 1)); };
    CHECK(y[t] == value(first + (t + argument) % width));
    CHECK(y[n + t] == value(lane - argument < first ? lane : lane - argument));
    CHECK(y[2 * n + t] == value(lane + argument > last ? lane : lane + argument));
    CHECK(y[3 * n + t] == value((lane ^ argument) > last ? lane : lane ^ argument));
  }
}

TEST(shuffles_of_every_kind) {
  in_every_way([] {
    for (int width : {32, 16, 8, 4, 2, 1})
      for (int argument : {0, 1, 3, 16, 31}) check_shuffles<float>(argument, width);
    check_shuffles<int>(5, 32);
    check_shuffles<unsigned>(5, 16);
    check_shuffles<long long>(5, 32);
    check_shuffles<double>(6, 8);
    check_shuffles<half>(7, 32);
    check_shuffles<bfloat16>(2, 32);
    check_shuffles<short>(9, 32);
  });
}

TEST(votes_of_a_warp) {
  in_every_way([] {
    for (int n : {64, 45}) {  // the second warp of 45 threads has 13 lanes
      std::vector<unsigned> y(12 * size_t(n));
      launch<votes>({dim3(1), dim3(n)}, y.data());
      for (int t = 0; t < n; t++) {
        int first = t / 32 * 32, end = first + 32 < n ? first + 32 : n;
        unsigned ballot = 0, match = 0;
        for (int i = first; i < end; i++)
          ballot |= unsigned(i % 3 == 0) << (i - first), match |= unsigned(i % 5 == t % 5) << (i - first);
        const unsigned* r = &y[size_t(t) * 12];
        CHECK(r[0] == ballot && r[1] == (first == 32) && r[2] == (first == 0) && r[3] == match);
        CHECK(r[4] == 1 && r[5] == unsigned(end - first) && r[6] == (end - first == 32) && r[7] == 1);
      }
    }
  });
}

TEST(reductions_of_a_warp) {
  in_every_way([] {
    std::vector<int> y(6 * 64);
    launch<warp_reductions>({dim3(1), dim3(64)}, y.data());
    for (int t = 0; t < 64; t++) {
      int sum = 0, low = INT32_MAX, high = INT32_MIN, all = -1, any = 0, odd = 0;
      for (int i = t / 32 * 32; i < t / 32 * 32 + 32; i++) {
        int v = i * 37 % 64 - 20;
        sum += v, low = min(low, v), high = max(high, v), all &= v, any |= v, odd ^= v;
      }
      const int* r = &y[size_t(t) * 6];
      CHECK(r[0] == sum && r[1] == low && r[2] == high && r[3] == all && r[4] == any && r[5] == odd);
    }
  });
}

TEST(parts_of_a_warp_and_warps_of_a_block_go_their_ways) {
  std::vector<int> first, uneven;
  in_every_way([&] {
    std::vector<int> y(64), z(256);
    launch<half_warps>({dim3(1), dim3(64)}, y.data());
    launch<uneven_warps>({dim3(1), dim3(256)}, z.data());
    for (int t = 0; t < 64; t++) {
      int lane = t % 32, low = lane < 16 ? lane : 31 - lane;  // the partner's lane mirrors this one
      CHECK(y[t] == (t / 32 + 1) * ((t / 32 * 32 + low) ^ 1) + 16);
    }
    for (int t = 0; t < 256; t++) CHECK(z[t] == 32 << (t % 8 * 3));
    if (first.empty()) first = y, uneven = z;
    CHECK(first == y && uneven == z);
  });
}

template <int threads, class T>
void check_block_reductions(dim3 block) {
  std::vector<T> x(3 * threads), y(9 * threads);
  for (int i = 0; i < 3 * threads; i++) x[i] = T(i * 31 % 97 - 40);
  launch<block_reductions<threads, T>>({dim3(3), block}, x.data(), y.data());
  for (int i = 0; i < 3 * threads; i++) {
    const T* begin = &x[i / threads * threads];
    T sum = std::accumulate(begin, begin + threads, T(0)), high = *std::max_element(begin, begin + threads);
    CHECK(y[3 * i] == sum && y[3 * i + 1] == high && y[3 * i + 2] == sum);
  }
}

TEST(reduce_h) {
  in_every_way([] {
    check_block_reductions<256, float>({256});
    check_block_reductions<256, double>({16, 16});
    check_block_reductions<32, float>({32});
    check_block_reductions<1024, int>({1024});
  });
  float x[256] = {}, y[768], first[768];
  for (int i = 0; i < 256; i++) x[i] = 1.0f / float(i + 1);
  launch<block_reductions<256, float>>({dim3(1), dim3(256)}, x, first);
  in_every_way([&] {
    launch<block_reductions<256, float>>({dim3(1), dim3(256)}, x, y);
    CHECK(!std::memcmp(y, first, sizeof y) && y[0] == y[3 * 255]);
  });
  x[77] = std::nanf("");
  launch<block_reductions<256, float>>({dim3(1), dim3(256)}, x, y);
  for (int i = 0; i < 768; i++) CHECK(y[i] != y[i]);
}

// ---- atomics, arithmetic, 16-bit types ----

TEST(atomics_of_every_kind) {
  in_every_way([] {
    const int n = 40 * 96;
    Counters c = {};
    c.minimum = 100, c.bits_and = -1;
    std::vector<int> tickets(n);
    launch<atomics>({dim3(40), dim3(96)}, &c, tickets.data());
    CHECK(std::set<int>(tickets.begin(), tickets.end()).size() == size_t(n));
    int odd = 0;
    for (int i = 0; i < n; i++) odd ^= i;
    CHECK(c.add == n && c.sub == -2 * n && c.minimum == -7 && c.maximum == n - 1 && c.exchanged == 5);
    CHECK(c.bits_or == 0x7fffffff && c.bits_and == ~0xff && c.bits_xor == odd && c.by_cas == 3 * n);
    CHECK(c.wrapped_up == unsigned(n % 10) && c.wrapped_down == (10 - unsigned(n % 10)) % 10);
    CHECK(c.add64 == uint64_t(n) << 33 && c.maximum64 == uint64_t(n - 1) << 32 && c.add_float == n && c.add_double == n / 2);
  });
}

TEST(intrinsics) {
  int facts[kFacts];
  launch<arithmetic>({dim3(1), dim3(1)}, facts);
  for (int i = 0; i < kFacts; i++)
    if (facts[i] != 1) std::printf("fact %d of arithmetic() is wrong\n", i), failures++;
}

// By definition: the nearest of all halves, the even one of two equally near.
TEST(half_rounds_to_nearest_even) {
  auto value = [](unsigned bits) -> double {
    int exponent = bits >> 10 & 31, mantissa = bits & 1023;
    double v = exponent ? std::ldexp(1024 + mantissa, exponent - 25) : std::ldexp(mantissa, -24);
    return bits & 0x8000 ? -v : v;
  };
  auto from_bits = [](unsigned bits) {
    half h;
    h.bits = uint16_t(bits);
    return h;
  };
  for (unsigned bits = 0; bits < 0x10000; bits++) {
    float f = float(from_bits(bits));
    if ((bits & 0x7c00) != 0x7c00) CHECK(double(f) == value(bits) && half(f).bits == bits);
    else if (bits & 1023) CHECK(f != f && half(f) != half(f));
    else CHECK(std::isinf(f) && half(f).bits == bits);
  }
  for (unsigned bits = 0; bits < 0x7bff; bits++) {  // between neighbours: the middle goes to the even one
    float middle = float((value(bits) + value(bits + 1)) / 2);
    CHECK(half(middle).bits == (bits & 1 ? bits + 1 : bits));
    CHECK(half(std::nextafter(middle, 1e9f)).bits == bits + 1 && half(-std::nextafter(middle, 0.0f)).bits == (bits | 0x8000));
  }
  CHECK(half(65519.0f).bits == 0x7bff && half(65520.0f).bits == 0x7c00 && half(-1e30f).bits == 0xfc00);
  CHECK(half(1e-30f).bits == 0 && half(-0.0f).bits == 0x8000);
}

TEST(bfloat16_rounds_to_nearest_even) {
  for (uint32_t high = 0; high < 0x10000; high++) {
    float f = cpu::bit_cast<float>(high << 16);
    bfloat16 b(f);
    if (f != f) {
      CHECK(float(b) != float(b));
      continue;
    }
    CHECK(b.bits == high && float(b) == f);
    if ((high & 0x7f80) == 0x7f80) continue;
    CHECK(bfloat16(cpu::bit_cast<float>(high << 16 | 0x7fff)).bits == high);
    CHECK(bfloat16(cpu::bit_cast<float>(high << 16 | 0x8000)).bits == high + (high & 1));
    CHECK(bfloat16(cpu::bit_cast<float>(high << 16 | 0x8001)).bits == high + 1);
  }
  float nan = cpu::bit_cast<float>(0x7f800001);  // its upper half alone would be infinity
  CHECK(float(bfloat16(nan)) != float(bfloat16(nan)));
}

// ---- order and threads ----

__global__ void draw_ticket(int* next, int* y) { y[threadIdx.x] = (*next)++; }

TEST(threads_start_in_the_order_asked_for) {
  auto run = [](cpu::Order order, uint64_t seed = 0) {
    cpu::set_thread_order(order, seed);
    int next = 0;
    std::vector<int> y(100);
    launch<draw_ticket>({dim3(1), dim3(100)}, &next, y.data());
    cpu::set_thread_order(cpu::Order::forward);
    return y;
  };
  std::vector<int> forward(100);
  std::iota(forward.begin(), forward.end(), 0);
  CHECK(run(cpu::Order::forward) == forward);
  std::vector<int> backward(forward.rbegin(), forward.rend());
  CHECK(run(cpu::Order::reverse) == backward);
  auto random = run(cpu::Order::random, 1);
  CHECK(random != forward && random != backward && random == run(cpu::Order::random, 1) && random != run(cpu::Order::random, 2));
  std::sort(random.begin(), random.end());
  CHECK(random == forward);
}

TEST(parallel_for) {
  for (int threads : {1, 2, 3, 7}) {
    cpu::set_num_threads(threads);
    CHECK(cpu::get_num_threads() == threads);
    for (int64_t n : {0, 1, 2, 5, 1000}) {
      std::vector<int> y(size_t(n), 0);
      cpu::parallel_for(n, [&](int64_t i) { y[size_t(i)] += int(i) + 1; });
      for (int64_t i = 0; i < n; i++) CHECK(y[size_t(i)] == i + 1);
    }
    std::vector<int> nested(64);
    cpu::parallel_for(8, [&](int64_t i) { cpu::parallel_for(8, [&](int64_t j) { nested[size_t(8 * i + j)]++; }); });
    for (int v : nested) CHECK(v == 1);
    auto message = message_of<std::runtime_error>([] {
      cpu::parallel_for(100, [](int64_t i) {
        if (i % 30 == 29) throw std::runtime_error("at " + std::to_string(i));
      });
    });
    CHECK(message == "at 29");
  }
  cpu::set_num_threads(-3);
  CHECK(cpu::get_num_threads() == 1);
}

TEST(parallel_for_may_launch) {
  cpu::set_num_threads(3);
  std::vector<float> x = ramp(12 * 256), y(12);
  cpu::parallel_for(12, [&](int64_t i) { launch<tree_sum>({dim3(1), dim3(256)}, &x[size_t(i) * 256], &y[size_t(i)]); });
  for (int b = 0; b < 12; b++) CHECK(y[b] == std::accumulate(&x[b * 256], &x[b * 256] + 256, 0.0f));
}

TEST(several_threads_may_launch) {
  cpu::set_num_threads(2);
  const std::vector<float> x = ramp(4 * 256);
  std::vector<std::thread> callers;
  std::atomic<int> wrong{0};
  for (int c = 0; c < 4; c++)
    callers.emplace_back([&, c] {
      for (int i = 0; i < 50; i++) {
        std::vector<float> sums(4), prefix(4 * 256);
        launch<tree_sum>({dim3(c % 2 ? 4 : 1), dim3(256)}, x.data(), sums.data());
        launch<scan>({dim3(4), dim3(256)}, x.data(), prefix.data());
        if (sums[0] != prefix[255]) wrong++;
      }
    });
  for (auto& caller : callers) caller.join();
  CHECK(wrong == 0);
}

TEST(a_forked_child_has_threads_of_its_own) {
  cpu::set_num_threads(3);
  std::vector<float> x = ramp(64 * 256), y(64);
  auto right = [&] {
    std::fill(y.begin(), y.end(), 0.0f);
    launch<tree_sum>({dim3(64), dim3(256)}, x.data(), y.data());
    for (int b = 0; b < 64; b++)
      if (y[b] != std::accumulate(&x[b * 256], &x[b * 256] + 256, 0.0f)) return false;
    return true;
  };
  CHECK(right());
  for (int i = 0; i < 5; i++) {
    pid_t child = fork();
    if (child == 0) _exit(right() && right() ? 0 : 1);
    CHECK(right());
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
  }
}

// ---- errors ----

__global__ void throws_at(int block, int thread) {
  __syncthreads();
  if (int(blockIdx.x) == block && int(threadIdx.x) == thread) throw std::out_of_range("thrown by a kernel");
  __syncthreads();
}

TEST(exceptions_leave_a_kernel) {
  in_every_way([] {
    for (int i = 0; i < 20; i++) {
      CHECK(message_of<std::out_of_range>([=] { launch<throws_at>({dim3(6), dim3(100)}, i % 6, i); }) == "thrown by a kernel");
      launch<throws_at>({dim3(6), dim3(100)}, -1, 0);
    }
    std::vector<float> x = ramp(256), y(1);
    launch<tree_sum>({dim3(1), dim3(256)}, x.data(), y.data());
    CHECK(y[0] == std::accumulate(x.begin(), x.end(), 0.0f));
  });
}

__global__ void launches() { launch<many_barriers>({dim3(1), dim3(1)}, 0); }

TEST(wrong_synchronization_is_reported) {
  in_every_way([] {
    std::vector<int> y(128);
    auto report = [&](auto f) { return message_of<cpu::KernelError>(f); };
    auto text = report([&] { launch<divergent_exit>({dim3(1), dim3(8)}); });
    CHECK(contains(text, "divergent barrier", "kernel ", "divergent_exit", "block (0,0,0)",
                   "thread (0,0,0) waits at __syncthreads()", "kernels.h:", "thread (5,0,0) has returned"));
    text = report([&] { launch<divergent_lines>({dim3(1), dim3(64)}, y.data()); });
    CHECK(contains(text, "divergent barrier", "divergent_lines", "waits at __syncthreads()", "came to __syncthreads()",
                   "thread ("));
    text = report([&] { launch<dead_locked_warp>({dim3(1), dim3(64)}, y.data()); });
    CHECK(contains(text, "deadlock", "dead_locked_warp", "block (0,0,0)",
                   "thread (0,0,0) waits at __shfl_down_sync(mask 0xffffffff)", "for lane 3", "thread (3,0,0) has returned"));
    text = report([&] { launch<warp_against_block>({dim3(1), dim3(64)}); });
    CHECK(contains(text, "deadlock", "thread (32,0,0) waits at __syncwarp(mask 0xffffffff)", "for lane 1",
                   "thread (33,0,0) waits at __syncthreads()"));
    text = report([&] { launch<different_collectives>({dim3(1), dim3(32)}, y.data()); });
    CHECK(contains(text, "divergent barrier", "__any_sync", "__all_sync"));
    text = report([&] { launch<mask_without_self>({dim3(1), dim3(32)}); });
    CHECK(contains(text, "mask_without_self", "lacks the calling lane", "thread ("));
    text = report([&] { launch<dead_locked_warp>({dim3(2, 3, 4), dim3(4, 8, 2)}, y.data()); });
    CHECK(contains(text, "block (", "thread ("));
    launch<many_barriers>({dim3(2), dim3(64)}, 2);
  });
  CHECK(contains(message_of<LaunchError>([] { launch<launches>({dim3(1), dim3(1)}); }), "many_barriers", "inside a kernel"));
}

#if PYCNN_CHECKED
TEST(races_are_reported) {
  in_every_way([] {
    std::vector<int> y(128);
    auto report = [&](auto f) { return message_of<cpu::KernelError>(f); };
    launch<neighbors<true>>({dim3(2), dim3(64)}, y.data());
    launch<overwrites<true>>({dim3(1), dim3(64)}, y.data());
    launch<warp_neighbors<true>>({dim3(1), dim3(64)}, y.data());
    auto text = report([&] { launch<neighbors<false>>({dim3(2), dim3(64)}, y.data()); });
    CHECK(contains(text, "race in kernel ", "neighbors<false>", "block (", "thread (", "ring[", "][", "with no barrier between"));
    text = report([&] { launch<overwrites<false>>({dim3(1), dim3(64)}, y.data()); });
    CHECK(contains(text, "race in kernel ", "overwrites<false>", "ring[", "with no barrier between"));
    text = report([&] { launch<warp_neighbors<false>>({dim3(1), dim3(64)}, y.data()); });
    CHECK(contains(text, "race in kernel ", "warp_neighbors<false>", "lanes["));
    text = report([&] { launch<atomic_and_plain>({dim3(1), dim3(64)}, y.data()); });
    CHECK(contains(text, "race in kernel ", "atomic_and_plain", "count[0]"));
  });
  std::vector<int> y(64);
  cpu::set_num_threads(1);
  auto text = message_of<cpu::KernelError>([&] { launch<neighbors<false>>({dim3(1), dim3(64)}, y.data()); });
  CHECK(contains(text, "block (0,0,0): thread (1,0,0) writes ring[0][1], which thread (0,0,0) read with no barrier between"));
}

TEST(bad_indices_are_reported) {
  std::vector<int> y(64);
  std::vector<float> f(8);
  auto report = [&](auto f) { return message_of<cpu::KernelError>(f); };
  launch<index_beyond>({dim3(1), dim3(8)}, y.data(), 7);
  auto text = report([&] { launch<index_beyond>({dim3(1), dim3(8)}, y.data(), 8); });
  CHECK(contains(text, "kernel ", "index_beyond", "block (0,0,0), thread (6,0,0)",
                 "index 8 of dimension 1 of shared array tile, extent 8"));
  CHECK(contains(report([&] { launch<index_beyond>({dim3(1), dim3(8)}, y.data(), -1); }), "index -1"));
  launch<dynamic_beyond>({dim3(1), dim3(8), 40}, y.data(), 9);
  text = report([&] { launch<dynamic_beyond>({dim3(1), dim3(8), 40}, y.data(), 10); });
  CHECK(contains(text, "dynamic_beyond", "thread (2,0,0)", "element 10 of shared array buffer, extent 10"));
  launch<misaligned_vector>({dim3(1), dim3(1), 64}, f.data(), 4);
  CHECK(contains(report([&] { launch<misaligned_vector>({dim3(1), dim3(1), 64}, f.data(), 5); }), "misaligned", "buffer[5]",
                 "16 bytes"));
}
#endif

// ---- stacks ----

__global__ void recurse(int depth, volatile int* y);
int deeper(int depth, volatile int* y) {
  volatile char frame[256];
  frame[0] = char(depth);
  return depth == 0 ? 0 : deeper(depth - 1, y) + frame[0] + *y;
}
__global__ void recurse(int depth, volatile int* y) {
  if (blockIdx.x == 1 && threadIdx.x == 2) *y = deeper(depth, y);
  __syncthreads();
}

TEST(a_deep_stack_is_enough) {
  int y = 0;
  launch<recurse>({dim3(2), dim3(4)}, 150, &y);
}

TEST(stress) {
  std::vector<float> x = ramp(256 * 256), y(256);
  in_every_way([&] {
    launch<many_barriers>({dim3(3), dim3(1024)}, 20);
    launch<tree_sum>({dim3(256), dim3(256)}, x.data(), y.data());
    for (int b = 0; b < 256; b += 17) CHECK(y[b] == std::accumulate(&x[b * 256], &x[b * 256] + 256, 0.0f));
  });
}

// Not a TEST: it ends the process with a report.
void overrun() {
  int y = 0;
  launch<recurse>({dim3(2), dim3(4)}, 1 << 20, &y);
}

// A fault that is not the engine's goes to the handler that was there before.
void foreign_fault() {
  struct sigaction action = {};
  action.sa_handler = [](int) { _exit(write(STDOUT_FILENO, "the earlier handler\n", 20) == 20 ? 42 : 1); };
  sigaction(SIGSEGV, &action, nullptr);
  launch<many_barriers>({dim3(1), dim3(4)}, 2);
  void* page = mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  *static_cast<volatile int*>(page) = 1;
}

__global__ void writes(int* p) { p[threadIdx.x] = 1; }

// A kernel that writes where it must not.
void bad_pointer() {
  void* page = mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  launch<writes>({dim3(2), dim3(4)}, static_cast<int*>(page));
}

int main(int count, char** arguments) {
  if (count > 1 && !std::strcmp(arguments[1], "--overrun")) return overrun(), 0;
  if (count > 1 && !std::strcmp(arguments[1], "--foreign-fault")) return foreign_fault(), 0;
  if (count > 1 && !std::strcmp(arguments[1], "--bad-pointer")) return bad_pointer(), 0;
  if (count > 1 && !std::strcmp(arguments[1], "--threads")) return std::printf("%d\n", cpu::get_num_threads()), 0;
  return run_tests(count - 1, arguments + 1);
}
