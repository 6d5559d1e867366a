#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

namespace fathom {

/// A fixed team of threads: the caller is thread 0. Between jobs the workers poll for a while, then
/// sleep. One job at a time, not reentrant.
///
/// Threads are bound to processors as plan_threads (base/numa.h) says. That includes the thread
/// that makes the pool, until the pool ends: it must be the one that gives it jobs, and what it
/// starts meanwhile, threads and processes, inherits its processor unless set free
/// (bind_thread).
class ThreadPool {
 public:
  /// threads <= 0: one for each usable processor. More threads than processors is allowed (they
  /// are then not bound and never poll).
  explicit ThreadPool(int threads = 0);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return threads_; }

  /// Runs body(thread) once on every thread and waits. An exception in a body is a programmer
  /// error.
  template <class F>
  void run(F&& body) {
    using Body = std::remove_reference_t<F>;
    run_job({[](void* f, int t) { (*static_cast<Body*>(f))(t); },
             const_cast<void*>(static_cast<const void*>(&body))});
  }

  /// Splits [0, n) into contiguous parts, one a thread: body(begin, end, thread). The partition
  /// depends on n, grain and size() alone. Parts are multiples of grain.
  template <class F>
  void for_range(int64_t n, int64_t grain, F&& body) {
    if (n <= 0) return;
    const int64_t units = (n + grain - 1) / grain;
    if (threads_ == 1 || units == 1) return body(int64_t{0}, n, 0);
    run([&](int t) {
      const int64_t begin = units * t / threads_ * grain;
      const int64_t end = t + 1 == threads_ ? n : units * (t + 1) / threads_ * grain;
      if (begin < end) body(begin, end, t);
    });
  }

  /// Hands out [0, n) one index at a time to whoever is free: body(index, thread). For work of
  /// uneven cost whose result does not depend on which thread does it.
  template <class F>
  void for_each(int64_t n, F&& body) {
    if (threads_ == 1 || n <= 1) {
      for (int64_t i = 0; i < n; ++i) body(i, 0);
      return;
    }
    std::atomic<int64_t> next{0};
    run([&](int t) {
      for (int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < n;) body(i, t);
    });
  }

 private:
  struct Job {
    void (*call)(void*, int) = nullptr;
    void* body = nullptr;
  };
  struct Shared;

  void run_job(Job job);
  void work(int thread);

  int threads_;
  std::unique_ptr<Shared> shared_;
};

}  // namespace fathom
