#include "base/thread_pool.h"

#include <linux/futex.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <climits>
#include <thread>

#include "base/error.h"
#include "base/numa.h"

namespace fathom {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::microseconds;

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Not std::atomic::wait: that yields before it sleeps, and beside another busy process each yield
// costs a time slice.
void futex(std::atomic<uint32_t>& word, int operation, uint32_t value) {
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), operation | FUTEX_PRIVATE_FLAG, value,
          nullptr, nullptr, 0);
}

/// A number that one thread changes and others wait for. Waiting polls first, for as long as
/// polling lately paid, then sleeps.
struct alignas(64) Signal {
  std::atomic<uint32_t> value{0};
  std::atomic<int> sleepers{0};

  /// All sequentially consistent: either the sleeper sees the new value or the waker the sleeper.
  void change_to(uint32_t next) {
    value.store(next);
    if (sleepers.load() > 0) futex(value, FUTEX_WAKE, INT_MAX);
  }
  void sleep_while(uint32_t old) {
    sleepers.fetch_add(1);
    while (value.load() == old) futex(value, FUTEX_WAIT, old);
    sleepers.fetch_sub(1);
  }
};

/// How often the calling thread lost its processor to another one.
long preemptions() {
  rusage usage{};
  getrusage(RUSAGE_THREAD, &usage);
  return usage.ru_nivcsw;
}

/// How long a thread polls before it sleeps, adapted whenever it has slept. Waking a sleeper takes
/// from 5 us to 200 us (a halted processor of a virtual machine), so a wait that ended soon asks
/// for more patience: else two threads that always find each other asleep stay at that pace. A
/// longer wait asks for less, as the other side has no work. A thread that was preempted meanwhile
/// polls briefly for some time: another process wants the processors, and a thread that polls its
/// time slice away is not let in at once when there is work.
class Patience {
 public:
  explicit Patience(bool spin) : polls_(spin) {}

  void wait(Signal& signal, uint32_t old) {
    if (!polls_) return signal.sleep_while(old);
    const auto start = Clock::now();
    do {
      for (int i = 0; i < kPollsBetweenLooks; ++i) {
        if (signal.value.load(std::memory_order_acquire) != old) return;
        pause();
      }
    } while (Clock::now() - start < limit_);
    signal.sleep_while(old);
    adapt(start, Clock::now());
  }

 private:
  static constexpr int kPollsBetweenLooks = 64;
  static constexpr microseconds kShortest{10}, kLongest{500}, kCrowded{50'000};

  void adapt(Clock::time_point start, Clock::time_point now) {
    const long preempted = preemptions();
    if (preempted != preempted_) {
      preempted_ = preempted;
      crowded_until_ = now + kCrowded;
    }
    if (now < crowded_until_)
      limit_ = kShortest;
    else
      limit_ =
          now - start < kLongest ? std::min(2 * limit_, kLongest) : std::max(limit_ / 2, kShortest);
  }

  bool polls_;
  microseconds limit_{100};
  long preempted_ = 0;
  Clock::time_point crowded_until_{};
};

}  // namespace

struct ThreadPool::Shared {
  explicit Shared(bool spin_in) : spin(spin_in), caller(spin_in) {}

  Signal generation;  // raised once a job
  alignas(64) std::atomic<int> pending{0};
  Signal finished;  // the generation of the last job that all workers are done with
  Job job;
  bool stopping = false, spin;
  Patience caller;
  std::vector<std::thread> workers;
  pthread_t bound_caller{};
  bool caller_is_bound = false;
};

ThreadPool::ThreadPool(int threads) {
  const ThreadPlan plan = plan_threads(threads, machine());
  threads_ = plan.threads;
  shared_ = std::make_unique<Shared>(plan.spin);
  for (int t = 1; t < threads_; ++t) {
    shared_->workers.emplace_back([this, t] { work(t); });
    bind_thread(shared_->workers.back().native_handle(), plan.bind[static_cast<size_t>(t)]);
  }
  shared_->bound_caller = pthread_self();
  shared_->caller_is_bound = !plan.bind[0].empty();
  bind_thread(shared_->bound_caller, plan.bind[0]);
}

ThreadPool::~ThreadPool() {
  shared_->stopping = true;
  shared_->generation.change_to(shared_->generation.value + 1);
  for (std::thread& w : shared_->workers) w.join();
  if (shared_->caller_is_bound && pthread_equal(pthread_self(), shared_->bound_caller))
    bind_thread(shared_->bound_caller);
}

void ThreadPool::run_job(Job job) {
  if (threads_ == 1) return job.call(job.body, 0);
  Shared& s = *shared_;
  FATHOM_ASSERT(s.pending.load(std::memory_order_relaxed) == 0);
  const uint32_t previous = s.generation.value.load(std::memory_order_relaxed);
  s.job = job;
  s.pending.store(threads_ - 1, std::memory_order_relaxed);
  s.generation.change_to(previous + 1);
  job.call(job.body, 0);
  s.caller.wait(s.finished, previous);
}

void ThreadPool::work(int thread) {
  Shared& s = *shared_;
  Patience patience(s.spin);
  for (uint32_t seen = 0;; ++seen) {
    patience.wait(s.generation, seen);
    if (s.stopping) return;
    s.job.call(s.job.body, thread);
    if (s.pending.fetch_sub(1, std::memory_order_acq_rel) == 1) s.finished.change_to(seen + 1);
  }
}

}  // namespace fathom
