#include "base/thread_pool.h"

#include <pthread.h>
#include <sched.h>

#include <thread>

#include "base/cpu.h"
#include "base/error.h"

namespace fathom {
namespace {

// About 20 us of polling: longer than the gap between two kernels of a step, shorter than what a
// user notices as a busy idle process.
constexpr int kSpins = 4000;

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// The processor that thread t of a pinned pool runs on: the t-th allowed one.
int nth_allowed_cpu(const cpu_set_t& allowed, int t) {
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
    if (CPU_ISSET(cpu, &allowed) && t-- == 0) return cpu;
  return -1;
}

void pin(std::thread& thread, int cpu) {
  if (cpu < 0) return;
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(cpu, &one);
  pthread_setaffinity_np(thread.native_handle(), sizeof one, &one);
}

}  // namespace

struct ThreadPool::Shared {
  alignas(64) std::atomic<uint32_t> generation{0};  // raised once a job
  alignas(64) std::atomic<int> pending{0};
  std::atomic<bool> stopping{false};
  Job job;
  bool spin = true;
  std::vector<std::thread> workers;
};

ThreadPool::ThreadPool(int threads)
    : threads_(threads > 0 ? threads : usable_cpus()), shared_(std::make_unique<Shared>()) {
  const int cpus = usable_cpus();
  shared_->spin = threads_ <= cpus;
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  sched_getaffinity(0, sizeof allowed, &allowed);
  for (int t = 1; t < threads_; ++t) {
    shared_->workers.emplace_back([this, t] { work(t); });
    if (shared_->spin && threads_ == cpus)
      pin(shared_->workers.back(), nth_allowed_cpu(allowed, t));
  }
}

ThreadPool::~ThreadPool() {
  shared_->stopping = true;
  shared_->generation.fetch_add(1, std::memory_order_release);
  shared_->generation.notify_all();
  for (std::thread& w : shared_->workers) w.join();
}

void ThreadPool::run_job(Job job) {
  if (threads_ == 1) return job.call(job.body, 0);
  Shared& s = *shared_;
  FATHOM_ASSERT(s.pending.load(std::memory_order_relaxed) == 0);
  s.job = job;
  s.pending.store(threads_ - 1, std::memory_order_relaxed);
  s.generation.fetch_add(1, std::memory_order_release);
  s.generation.notify_all();
  job.call(job.body, 0);
  for (int spins = 0;; ++spins) {
    const int left = s.pending.load(std::memory_order_acquire);
    if (left == 0) break;
    if (s.spin && spins < kSpins)
      pause();
    else
      s.pending.wait(left, std::memory_order_acquire);
  }
}

void ThreadPool::work(int thread) {
  Shared& s = *shared_;
  uint32_t seen = 0;
  for (;;) {
    for (int spins = 0; s.generation.load(std::memory_order_acquire) == seen; ++spins) {
      if (s.spin && spins < kSpins)
        pause();
      else
        s.generation.wait(seen, std::memory_order_acquire);
    }
    ++seen;
    if (s.stopping) return;
    s.job.call(s.job.body, thread);
    if (s.pending.fetch_sub(1, std::memory_order_acq_rel) == 1) s.pending.notify_one();
  }
}

}  // namespace fathom
