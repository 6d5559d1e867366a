#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <optional>

#include "base/error.h"
#include "base/file.h"
#include "base/progress.h"
#include "base/thread_pool.h"
#include "cluster/net/draw.h"
#include "cluster/net/simulation.h"
#include "net.h"
#include "report.h"

namespace fathom::app {
namespace {

using net::JobResult;
using net::Setting;
using net::SimulationResult;

std::string quoted_list(const std::vector<std::string>& values) {
  std::string out;
  for (const std::string& v : values) out += fmt::format("{}\"{}\"", out.empty() ? "" : ", ", v);
  return "[" + out + "]";
}

std::pair<std::string, std::string> split_assignment(const std::string& text, const char* option) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0 || equals + 1 == text.size())
    throw UsageError(fmt::format("{} {}: not of the form key=value", option, text),
                     fmt::format("for example {} job.bytes=1GiB", option));
  return {text.substr(0, equals), text.substr(equals + 1)};
}

std::string flag_of(const std::string& key) {
  for (const net::ScenarioKey& k : net::scenario_keys())
    if (k.key == key) return "--" + k.flag;
  return key;
}

std::vector<Setting> settings_of(const NetSimulateArguments& o) {
  std::vector<Setting> out;
  for (const std::string& text : o.set) {
    const auto [key, value] = split_assignment(text, "--set");
    out.push_back({key, value, "--set " + text});
  }
  for (const auto& [key, values] : o.flags) {
    const std::string flag = flag_of(key);
    if (key == "failures" || key == "hardware") {  // lists
      out.push_back({key, quoted_list(values), flag});
    } else if (values.size() > 1) {
      throw UsageError(fmt::format("{} is given {} times", flag, values.size()),
                       "several values: --sweep");
    } else {
      out.push_back({key, values[0], flag});
    }
  }
  return out;
}

/// One point of a sweep: "nodes = 4, bytes = 1GiB" and its settings.
struct Point {
  std::string label;
  std::vector<Setting> settings;
};

std::vector<Point> points_of(const NetSimulateArguments& o) {
  std::vector<Point> points = {{"", settings_of(o)}};
  for (const std::string& text : o.sweep) {
    const auto [key, values] = split_assignment(text, "--sweep");
    std::vector<Point> more;
    for (const Point& p : points)
      for (size_t at = 0; at <= values.size();) {
        const size_t end = std::min(values.find(',', at), values.size());
        const std::string value = values.substr(at, end - at);
        more.push_back(p);
        more.back().label += fmt::format("{}{} = {}", p.label.empty() ? "" : ", ",
                                         key.substr(key.rfind('.') + 1), value);
        more.back().settings.push_back({key, value, "--sweep " + key});
        at = end + 1;
      }
    points = std::move(more);
  }
  return points;
}

std::vector<SimulationResult> run_points(const std::vector<net::Scenario>& scenarios, int threads) {
  std::vector<SimulationResult> results(scenarios.size());
  std::vector<std::exception_ptr> errors(scenarios.size());
  ThreadPool pool(scenarios.size() == 1 ? 1 : threads);
  Progress progress("simulating", static_cast<double>(scenarios.size()), "run");
  std::atomic<int> done = 0;
  pool.for_each(static_cast<int64_t>(scenarios.size()), [&](int64_t i, int thread) {
    const auto at = static_cast<size_t>(i);
    try {
      results[at] = net::simulate(scenarios[at], [&](double share) {
        if (thread == 0) progress.update(done + share);
      });
    } catch (...) {
      errors[at] = std::current_exception();
    }
    ++done;
  });
  for (const std::exception_ptr& e : errors)
    if (e) std::rethrow_exception(e);
  return results;
}

Report report_of(const JobResult& j) {
  Report r;
  r.add("kind", j.kind);
  r.add("gpus", j.gpus);
  r.add("start_us", static_cast<double>(j.start) / 1e6);
  r.add("time_us", j.seconds() * 1e6);
  r.add("time_ps", j.end - j.start);
  r.add("gb_s_per_gpu", j.algorithm_gb_s());
  r.add("bus_gb_s", j.bus_gb_s());
  r.add("bytes_per_gpu", j.volume.bytes_per_gpu);
  r.add("cross_node_bytes_per_node", j.volume.cross_node_bytes);
  r.add("lower_bound_us", j.bound.seconds * 1e6);
  r.add("lower_bound_cut", j.bound.cut);
  r.add("lower_bound_formula", j.bound.formula);
  r.add("times_lower_bound", j.seconds() / j.bound.seconds);
  r.add("volume_formula", j.volume.formula);
  return r;
}

std::vector<Report> busiest(const SimulationResult& r) {
  std::vector<const net::LinkLoad*> order;
  for (const net::LinkLoad& l : r.loads) order.push_back(&l);
  std::stable_sort(order.begin(), order.end(), [](auto* a, auto* b) { return a->load > b->load; });
  std::vector<Report> out;
  for (size_t i = 0; i < std::min<size_t>(10, order.size()); ++i) {
    Report link;
    link.add("name", order[i]->name);
    link.add("count", order[i]->resource.count);
    link.add("load", order[i]->load);
    link.add("bytes", order[i]->bytes);
    out.push_back(std::move(link));
  }
  return out;
}

Report report_of(const SimulationResult& r, const net::Scenario& s, const std::string& label) {
  Report report;
  if (!label.empty()) report.add("point", label);
  report.add("name", s.name);
  report.add("topology", net::name_of(s.network.topology.kind));
  report.add("nodes", s.network.nodes);
  report.add("switches", r.switches);
  report.add("cables", r.cables);
  report.add("routing", net::name_of(s.routing.policy));
  report.add("failures", s.failures);
  report.add("time_us", static_cast<double>(r.end) / 1e6);
  std::vector<Report> jobs;
  for (const JobResult& j : r.jobs) jobs.push_back(report_of(j));
  report.add("jobs", jobs);
  report.add("link_load_histogram", std::vector<double>(r.histogram.begin(), r.histogram.end()));
  report.add("busiest", busiest(r));
  report.add("flows", r.flows);
  report.add("flow_entries", r.entries);
  report.add("steps", r.steps);
  report.add("assumptions", r.assumptions);
  return report;
}

void print_header(size_t label_width) {
  fmt::print("{:<{}}  {:<14} {:>6} {:>12} {:>12} {:>7} {:>10} {:>9}\n", "", label_width, "traffic",
             "GPUs", "time us", "bound us", "x bound", "GB/s a GPU", "bus GB/s");
}

void print_jobs(const SimulationResult& r, const std::string& label, size_t label_width) {
  for (const JobResult& j : r.jobs)
    fmt::print("{:<{}}  {:<14} {:>6} {:>12.3f} {:>12.3f} {:>7.3f} {:>10.2f} {:>9.2f}\n", label,
               label_width, j.kind, j.gpus, j.seconds() * 1e6, j.bound.seconds * 1e6,
               j.seconds() / j.bound.seconds, j.algorithm_gb_s(), j.bus_gb_s());
}

void print_details(const SimulationResult& r, const net::Scenario& s) {
  fmt::print("network: {}, {} switches, {} cables between them\n",
             net::name_of(s.network.topology.kind), r.switches, r.cables);
  if (!s.failures.empty()) fmt::print("down: {}\n", fmt::join(s.failures, ", "));
  fmt::print("cable load, tenths of the time: {:.0f}\n", fmt::join(r.histogram, " "));
  for (const std::string& a : r.assumptions) fmt::print("assumed: {}\n", a);
  fmt::print("{:.0f} flows in {} entries, {} steps\n", r.flows, r.entries, r.steps);
}

void explain(const SimulationResult& r) {
  for (const JobResult& j : r.jobs) {
    fmt::print("{}: {}\n", j.kind, j.volume.formula);
    fmt::print("  lower bound, by {}: {} = {:.6g} us\n", j.bound.cut, j.bound.formula,
               j.bound.seconds * 1e6);
    fmt::print("  GB/s a GPU: {:.6g} B / {:.6g} us; bus: x {:.6g}\n", j.volume.bytes_per_gpu,
               j.seconds() * 1e6, j.volume.bus_factor);
  }
}

std::string picture_of(const std::vector<Point>& points,
                       const std::vector<net::Scenario>& scenarios,
                       const std::vector<SimulationResult>& results) {
  const std::string& name = scenarios[0].name;
  if (results.size() == 1)
    return net::draw_loads(results[0], name.empty() ? results[0].jobs[0].kind : name);
  std::vector<net::Bar> bars;
  for (size_t i = 0; i < results.size(); ++i)
    for (const JobResult& j : results[i].jobs)
      bars.push_back({points[i].label, j.seconds() * 1e6, j.bound.seconds * 1e6});
  return net::draw_bars(bars, name.empty() ? results[0].jobs[0].kind : name, "us", "lower bound");
}

void print_text(const std::vector<Point>& points, const std::vector<net::Scenario>& scenarios,
                const std::vector<SimulationResult>& results, bool explained) {
  size_t width = 0;
  for (const Point& p : points) width = std::max(width, p.label.size());
  print_header(width);
  for (size_t i = 0; i < results.size(); ++i) print_jobs(results[i], points[i].label, width);
  print_details(results[0], scenarios[0]);
  for (size_t i = 0; explained && i < results.size(); ++i) {
    if (!points[i].label.empty()) fmt::print("{}:\n", points[i].label);
    explain(results[i]);
  }
}

}  // namespace

int run_net_simulate(const GlobalOptions& global, const NetSimulateArguments& o) {
  const std::vector<Point> points = points_of(o);
  std::vector<net::Scenario> scenarios;
  for (const Point& p : points) scenarios.push_back(net::load_scenario(o.scenario, p.settings));
  const std::vector<SimulationResult> results = run_points(scenarios, global.threads);
  if (!o.svg.empty()) write_text_file(o.svg, picture_of(points, scenarios, results));
  if (!global.json) {
    print_text(points, scenarios, results, o.explain);
    return 0;
  }
  if (results.size() == 1 && points[0].label.empty()) {
    report_of(results[0], scenarios[0], "").print(true);
    return 0;
  }
  std::vector<Report> list;
  for (size_t i = 0; i < results.size(); ++i)
    list.push_back(report_of(results[i], scenarios[i], points[i].label));
  Report report;
  report.add("points", list);
  report.print(true);
  return 0;
}

}  // namespace fathom::app
