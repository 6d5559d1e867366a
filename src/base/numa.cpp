#include "base/numa.h"

#include <fmt/format.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <set>

#include "base/error.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

std::string read_line(const fs::path& file) {
  std::ifstream in(file);
  std::string line;
  std::getline(in, line);
  return line;
}

std::optional<double> read_number(const fs::path& file) {
  const std::string line = read_line(file);
  double value = 0;
  const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), value);
  if (error != std::errc()) return std::nullopt;
  return value;
}

int environment_number(const char* name, int otherwise) {
  const char* text = std::getenv(name);
  if (!text) return otherwise;
  int value = 0;
  const auto [end, error] = std::from_chars(text, text + std::string_view(text).size(), value);
  return error == std::errc() && value >= 0 ? value : otherwise;
}

// A mask for more processors than cpu_set_t has room for, until the kernel finds it large enough.
CpuList affinity() {
  for (int room = 1024; room <= (1 << 20); room *= 4) {
    cpu_set_t* set = CPU_ALLOC(static_cast<size_t>(room));
    const size_t bytes = CPU_ALLOC_SIZE(static_cast<size_t>(room));
    const bool done = sched_getaffinity(0, bytes, set) == 0;
    CpuList cpus;
    for (int cpu = 0; done && cpu < room; ++cpu)
      if (CPU_ISSET_S(static_cast<size_t>(cpu), bytes, set)) cpus.push_back(cpu);
    CPU_FREE(set);
    if (done) return cpus;
  }
  return {0};
}

CpuList online_cpus() {
  CpuList cpus = parse_cpu_list(read_line("/sys/devices/system/cpu/online"));
  if (cpus.empty())
    for (int cpu = 0; cpu < sysconf(_SC_NPROCESSORS_ONLN); ++cpu) cpus.push_back(cpu);
  return cpus;
}

std::vector<CpuList> numa_nodes(const CpuList& online) {
  const fs::path root = "/sys/devices/system/node";
  std::vector<CpuList> nodes;
  for (const int node : parse_cpu_list(read_line(root / "online"))) {
    CpuList cpus = parse_cpu_list(read_line(root / fmt::format("node{}", node) / "cpulist"));
    if (!cpus.empty()) nodes.push_back(std::move(cpus));
  }
  if (nodes.empty()) nodes.push_back(online);
  return nodes;
}

// The first processor that the mask has of each core, node by node.
CpuList cores_of(const CpuList& allowed, const std::vector<CpuList>& nodes) {
  std::set<int> seen;
  CpuList cores;
  for (const CpuList& node : nodes)
    for (const int cpu : node) {
      if (!std::binary_search(allowed.begin(), allowed.end(), cpu) || seen.count(cpu)) continue;
      cores.push_back(cpu);
      const CpuList siblings = parse_cpu_list(read_line(
          fmt::format("/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list", cpu)));
      seen.insert(cpu);
      seen.insert(siblings.begin(), siblings.end());
    }
  return cores;
}

// The control group's directory of a controller: version 2 has one tree, version 1 one for each.
std::vector<fs::path> control_group(std::string_view controller) {
  std::ifstream in("/proc/self/cgroup");
  std::vector<fs::path> found;
  for (std::string line; std::getline(in, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string names = line.substr(first + 1, second - first - 1);
    const std::string path = line.substr(second + 1);
    fs::path root = "/sys/fs/cgroup";
    if (names.empty() && path.starts_with('/'))
      found.push_back(root.string() + path);
    else if (("," + names + ",").find(fmt::format(",{},", controller)) != std::string::npos)
      found.push_back((root / controller).string() + path);
    found.push_back(names.empty() ? root : root / controller);  // as seen inside a container
  }
  return found;
}

std::optional<double> cpu_quota() {
  std::optional<double> least;
  const auto take = [&](double cpus) { least = std::min(least.value_or(cpus), cpus); };
  for (const fs::path& group : control_group("cpu")) {
    std::ifstream in(group / "cpu.max");  // "max 100000" or "150000 100000", microseconds
    double quota = 0, period = 0;
    if (in >> quota >> period && period > 0) take(quota / period);
    const auto quota_v1 = read_number(group / "cpu.cfs_quota_us");
    const auto period_v1 = read_number(group / "cpu.cfs_period_us");
    if (quota_v1 && period_v1 && *quota_v1 > 0 && *period_v1 > 0) take(*quota_v1 / *period_v1);
  }
  return least;
}

int whole_cpus(const Machine& m) {
  const auto allowed = std::max(1, static_cast<int>(m.allowed.size()));
  if (!m.cpu_quota) return allowed;
  return std::clamp(static_cast<int>(std::ceil(*m.cpu_quota)), 1, allowed);
}

// How many local ranks have this rank's mask, if masks are equal or disjoint.
int ranks_on_mask(const Machine& m) {
  const auto all = std::max<size_t>(1, m.online.size());
  return std::max(1, static_cast<int>(static_cast<size_t>(m.ranks.size) * m.allowed.size() / all));
}

// The processors that rank `rank` of `ranks` with equal masks takes, when all have the whole
// machine; otherwise which ranks share a mask is unknown.
CpuList share_of(const CpuList& cpus, int rank, int ranks) {
  const int n = static_cast<int>(cpus.size());
  return {cpus.begin() + n * rank / ranks, cpus.begin() + n * (rank + 1) / ranks};
}

CpuList intersection(const CpuList& a, const CpuList& b) {
  CpuList both;
  std::set_intersection(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(both));
  return both;
}

std::vector<CpuList> pinned(const CpuList& cpus) {
  std::vector<CpuList> bind;
  for (const int cpu : cpus) bind.push_back({cpu});
  return bind;
}

std::vector<CpuList> on_nodes(int threads, const Machine& m) {
  std::vector<CpuList> nodes;
  for (const CpuList& node : m.nodes)
    if (CpuList usable = intersection(node, m.allowed); !usable.empty())
      nodes.push_back(std::move(usable));
  std::vector<CpuList> bind(static_cast<size_t>(threads));
  if (nodes.size() > 1)
    for (size_t t = 0; t < bind.size(); ++t) bind[t] = nodes[t * nodes.size() / bind.size()];
  return bind;
}

std::vector<CpuList> bindings(int threads, const Machine& m, int ranks) {
  const std::vector<CpuList> nowhere(static_cast<size_t>(threads));
  const bool whole_machine = m.allowed.size() == m.online.size();
  if (m.cpu_quota || (ranks > 1 && !whole_machine)) return nowhere;
  const int rank = std::min(m.ranks.rank, ranks - 1);
  for (const CpuList* all : {&m.allowed, &m.cores}) {
    const CpuList mine = share_of(*all, ranks > 1 ? rank : 0, ranks);
    if (static_cast<int>(mine.size()) == threads) return pinned(mine);
  }
  if (ranks > 1 || threads > static_cast<int>(m.allowed.size())) return nowhere;
  return on_nodes(threads, m);
}

}  // namespace

CpuList parse_cpu_list(std::string_view text) {
  CpuList cpus;
  const char* p = text.data();
  const char* end = p + text.size();
  const auto number = [&](int& value) {
    const auto r = std::from_chars(p, end, value);
    p = r.ptr;
    return r.ec == std::errc();
  };
  while (p < end) {
    int first = 0;
    if (!number(first)) {
      ++p;
      continue;
    }
    int last = first;
    if (p < end && *p == '-' && !number((++p, last))) last = first;
    for (int cpu = first; cpu <= last; ++cpu) cpus.push_back(cpu);
  }
  std::sort(cpus.begin(), cpus.end());
  return cpus;
}

std::string format_cpu_list(const CpuList& cpus) {
  std::string text;
  for (size_t i = 0; i < cpus.size();) {
    size_t last = i;
    while (last + 1 < cpus.size() && cpus[last + 1] == cpus[last] + 1) ++last;
    text += fmt::format("{}{}", text.empty() ? "" : ",", cpus[i]);
    if (last > i) text += fmt::format("-{}", cpus[last]);
    i = last + 1;
  }
  return text;
}

LocalRanks local_ranks() {
  constexpr const char* kNames[][2] = {{"OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"},
                                       {"MPI_LOCALRANKID", "MPI_LOCALNRANKS"},
                                       {"SLURM_LOCALID", "SLURM_NTASKS_PER_NODE"}};
  for (const auto& [rank, size] : kNames) {
    const int n = environment_number(size, 0), r = environment_number(rank, -1);
    if (n > 0 && r >= 0 && r < n) return {r, n};
  }
  return {};
}

const Machine& machine() {
  static const Machine m = [] {
    Machine found;
    found.online = online_cpus();
    found.allowed = affinity();
    found.nodes = numa_nodes(found.online);
    found.cores = cores_of(found.allowed, found.nodes);
    found.cpu_quota = cpu_quota();
    found.ranks = local_ranks();
    return found;
  }();
  return m;
}

ThreadPlan plan_threads(int requested, const Machine& m) {
  const int cpus = whole_cpus(m), ranks = ranks_on_mask(m);
  ThreadPlan plan;
  plan.threads = requested > 0 ? requested : std::max(1, cpus / ranks);
  plan.spin = plan.threads * ranks <= cpus;
  plan.bind = bindings(plan.threads, m, ranks);
  return plan;
}

void bind_thread(pthread_t thread, const CpuList& cpus) {
  if (cpus.empty()) return;
  const auto room = static_cast<size_t>(cpus.back()) + 1;
  cpu_set_t* set = CPU_ALLOC(room);
  const size_t bytes = CPU_ALLOC_SIZE(room);
  CPU_ZERO_S(bytes, set);
  for (const int cpu : cpus) CPU_SET_S(static_cast<size_t>(cpu), bytes, set);
  pthread_setaffinity_np(thread, bytes, set);
  CPU_FREE(set);
}

int interleave_memory() {
  const CpuList nodes = parse_cpu_list(read_line("/sys/devices/system/node/has_memory"));
  if (nodes.size() < 2) return 1;
  constexpr int kInterleave = 3;  // MPOL_INTERLEAVE of set_mempolicy(2)
  constexpr size_t kWordBits = 8 * sizeof(unsigned long);
  std::vector<unsigned long> mask(static_cast<size_t>(nodes.back()) / kWordBits + 1);
  for (const int node : nodes)
    mask[static_cast<size_t>(node) / kWordBits] |= 1ul << static_cast<size_t>(node) % kWordBits;
  // The kernel reads one bit less than it is told.
  if (syscall(SYS_set_mempolicy, kInterleave, mask.data(), mask.size() * kWordBits + 1) != 0)
    throw_errno("cannot spread memory over the NUMA nodes",
                "run under numactl --interleave=all, or let the container set memory policies");
  return static_cast<int>(nodes.size());
}

int64_t available_memory() {
  double bytes = 0;
  std::ifstream in("/proc/meminfo");
  for (std::string line; std::getline(in, line);)
    if (line.starts_with("MemAvailable:")) bytes = 1024 * std::strtod(line.c_str() + 13, nullptr);
  for (const fs::path& group : control_group("memory"))
    for (const auto& [limit, used] :
         {std::pair("memory.max", "memory.current"),
          std::pair("memory.limit_in_bytes", "memory.usage_in_bytes")}) {
      const auto most = read_number(group / limit), now = read_number(group / used);
      if (most && now) bytes = std::min(bytes, std::max(0.0, *most - *now));
    }
  return static_cast<int64_t>(bytes);
}

int64_t last_level_cache_bytes() {
  std::set<std::string> seen;  // by the processors that share the cache
  double bytes = 0;
  for (const int cpu : machine().allowed)
    for (const int level : {4, 3, 2}) {
      const fs::path cache = fmt::format("/sys/devices/system/cpu/cpu{}/cache/index{}", cpu, level);
      const auto kib = read_number(cache / "size");  // "32768K"
      if (!kib) continue;
      if (seen.insert(read_line(cache / "shared_cpu_list")).second) bytes += 1024 * *kib;
      break;
    }
  return static_cast<int64_t>(bytes);
}

std::string huge_page_mode() {
  const std::string line = read_line("/sys/kernel/mm/transparent_hugepage/enabled");
  const size_t open = line.find('['), close = line.find(']');
  if (open == std::string::npos || close == std::string::npos || close < open) return "unknown";
  return line.substr(open + 1, close - open - 1);
}

}  // namespace fathom
