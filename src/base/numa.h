#pragma once

#include <pthread.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace fathom {

/// A set of processors, ascending.
using CpuList = std::vector<int>;

/// "0-3,8,10-11" as /sys writes it; what is not a number is passed over.
CpuList parse_cpu_list(std::string_view text);
/// "0-3,8,10-11".
std::string format_cpu_list(const CpuList& cpus);

/// Ranks that a launcher started on this machine, from its environment: OMPI_COMM_WORLD_LOCAL_RANK
/// and _SIZE (Open MPI), MPI_LOCALRANKID and MPI_LOCALNRANKS (MPICH, Intel MPI), SLURM_LOCALID and
/// SLURM_NTASKS_PER_NODE (srun). One rank where none is set.
struct LocalRanks {
  int rank = 0, size = 1;
};
LocalRanks local_ranks();

/// The processors and memory of the machine, and the part of them that this process may use.
struct Machine {
  CpuList online;   ///< all processors of the machine
  CpuList allowed;  ///< those in this process's affinity mask
  /// One processor of each allowed core, in the order of nodes; the others are SMT siblings.
  CpuList cores;
  std::vector<CpuList> nodes;       ///< processors of each NUMA node that has any
  std::optional<double> cpu_quota;  ///< processors' worth of time that the control group grants
  LocalRanks ranks;
};
/// As the process started: later changes of the affinity are not seen.
const Machine& machine();

/// Where the threads of a pool run.
struct ThreadPlan {
  int threads = 1;
  /// Nobody else is expected on the processors: threads may poll for each other.
  bool spin = true;
  /// By thread: the processors it is bound to; empty where the scheduler decides.
  std::vector<CpuList> bind;
};

/// requested <= 0 asks for one thread for each processor of this process's share: the affinity mask
/// or the control group's quota, whichever is less, divided among local ranks that share the mask
/// (ranks whose masks together are no larger than the machine are taken to have one each).
///
/// A pool that fills all processors, or has one thread for each core, is pinned: a processor each.
/// A smaller pool is bound to NUMA nodes, evenly, and not at all on a machine with one: another
/// process may hold the rest. With more threads than processors, or ranks or a quota in the way,
/// threads are not bound, and do not poll where they could poll against each other.
ThreadPlan plan_threads(int requested, const Machine& machine);

/// Lets a thread run on `cpus` alone, by default wherever the process could when it started. An
/// empty list changes nothing.
void bind_thread(pthread_t thread, const CpuList& cpus = machine().allowed);

/// From now on this thread, and threads that it starts, take new memory and new pages of files from
/// all NUMA nodes in turn; what is in memory stays where it is. Returns the number of nodes; with
/// one there is nothing to do. Throws Error when the system refuses.
int interleave_memory();

/// Memory that can be had without swapping, in bytes: the machine's, or the control group's.
int64_t available_memory();
/// Of all last-level caches of the processors this process may use; 0 where unknown.
int64_t last_level_cache_bytes();
/// The bracketed word of /sys/kernel/mm/transparent_hugepage/enabled: always, madvise or never;
/// "unknown" without that file.
std::string huge_page_mode();

}  // namespace fathom
