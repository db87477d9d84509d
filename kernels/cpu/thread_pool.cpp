// A pool of std::thread. A job is cut into parts, one for each thread; a thread of the pool that sleeps may wake too
// late, so the caller runs every part that nobody has claimed when it is done with its own.
#include "thread_pool.h"

#include <pthread.h>
#if defined(__linux__)
#include <sched.h>
#endif

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace pycnn::cpu {
namespace {

constexpr int kMaxThreads = 1024;
constexpr auto kSpin = std::chrono::microseconds(1000);  // waking a sleeping thread takes 50 µs and more

int available_processors() {
#if defined(__linux__)
  cpu_set_t set;
  if (!sched_getaffinity(0, sizeof set, &set)) return CPU_COUNT(&set);
#endif
  unsigned count = std::thread::hardware_concurrency();
  return count ? int(count) : 1;
}

int clamp_threads(long count) { return int(count < 1 ? 1 : count > kMaxThreads ? kMaxThreads : count); }

int default_threads() {
  const char* text = std::getenv("PYCNN_NUM_THREADS");
  long count = text ? std::strtol(text, nullptr, 10) : 0;
  return clamp_threads(count > 0 ? count : available_processors());
}

std::atomic<int>& thread_count() {
  static std::atomic<int> count{default_threads()};
  return count;
}

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// A thread waits for a condition: first by looking, for kSpin, then asleep.
class Parking {
 public:
  template <class Ready>
  void wait(Ready ready) {
    if (ready()) return;
    auto end = std::chrono::steady_clock::now() + kSpin;
    do {
      for (int i = 0; i < 32; i++, pause())
        if (ready()) return;
    } while (std::chrono::steady_clock::now() < end);
    std::unique_lock<std::mutex> lock(mutex_);
    parked_.store(true);
    condition_.wait(lock, ready);
    parked_.store(false);
  }

  // To be called after the condition was made true.
  void wake() {
    if (!parked_.load()) return;
    std::lock_guard<std::mutex> lock(mutex_);
    condition_.notify_one();
  }

 private:
  std::mutex mutex_;
  std::condition_variable condition_;
  std::atomic<bool> parked_{false};
};

thread_local bool in_part = false;  // of a job, on this thread

class Pool {
 public:
  void run(int parts, void (*part)(void*, int), void* data) {
    while (int(workers_.size()) < parts - 1) workers_.push_back(std::make_unique<Worker>(*this, int(workers_.size()) + 1));
    part_ = part;
    data_ = data;
    errors_.assign(size_t(parts), nullptr);
    left_.store(parts - 1);
    uint64_t job = (job_.load() / kMaxParts + 1) * kMaxParts + uint64_t(parts);
    job_.store(job);
    for (int i = 1; i < parts; i++) workers_[size_t(i) - 1]->parking.wake();

    run_part(0);
    for (int i = parts - 1; i > 0; i--)
      if (workers_[size_t(i) - 1]->claim(job)) finish_part(i);
    caller_.wait([&] { return left_.load() == 0; });
    for (std::exception_ptr& error : errors_)
      if (error) std::rethrow_exception(std::exchange(error, nullptr));
  }

 private:
  static constexpr uint64_t kMaxParts = 2 * kMaxThreads;

  struct Worker {
    Worker(Pool& pool, int part) : thread([&pool, this, part] { pool.work(*this, part); }) { thread.detach(); }

    // Whether the caller of this function is to run this worker's part of `job`: the first one is.
    bool claim(uint64_t job) {
      uint64_t last = claimed.load();
      return last < job && claimed.compare_exchange_strong(last, job);
    }

    Parking parking;
    alignas(64) std::atomic<uint64_t> claimed{0};
    std::thread thread;
  };

  void work(Worker& worker, int part) {
    in_part = true;
    for (uint64_t seen = 0;;) {
      worker.parking.wait([&] { return job_.load() != seen; });
      seen = job_.load();
      if (uint64_t(part) < seen % kMaxParts && worker.claim(seen)) finish_part(part);
    }
  }

  void run_part(int i) {
    bool outer = std::exchange(in_part, true);
    try {
      part_(data_, i);
    } catch (...) {
      errors_[size_t(i)] = std::current_exception();
    }
    in_part = outer;
  }

  void finish_part(int i) {
    run_part(i);
    if (left_.fetch_sub(1) == 1) caller_.wake();
  }

  std::vector<std::unique_ptr<Worker>> workers_;
  alignas(64) std::atomic<uint64_t> job_{0};  // its number * kMaxParts + its parts
  alignas(64) std::atomic<int> left_{0};      // parts of the pool that have not returned
  Parking caller_;
  void (*part_)(void*, int) = nullptr;
  void* data_ = nullptr;
  std::vector<std::exception_ptr> errors_;
};

// Never destroyed: its threads sleep until the process ends. A forked child has none of them and makes a new one.
Pool* pool = nullptr;
std::mutex pool_mutex;

void before_fork() {
  if (!in_part) pool_mutex.lock();
}
void after_fork_in_parent() {
  if (!in_part) pool_mutex.unlock();
}
void after_fork_in_child() {
  pool = nullptr;
  if (!in_part) pool_mutex.unlock();
}
[[maybe_unused]] const int fork_handlers = pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);

}  // namespace

int get_num_threads() { return thread_count().load(std::memory_order_relaxed); }
void set_num_threads(int count) { thread_count().store(clamp_threads(count)); }

void run_parts(int parts, void (*part)(void*, int), void* data) {
  if (parts == 1 || in_part) {
    for (int i = 0; i < parts; i++) part(data, i);
    return;
  }
  std::lock_guard<std::mutex> lock(pool_mutex);
  if (!pool) pool = new Pool;
  pool->run(parts, part, data);
}

}  // namespace pycnn::cpu
