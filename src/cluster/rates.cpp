#include "cluster/rates.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace fathom::cluster {
namespace {

constexpr double kGiga = 1e9, kTera = 1e12;

const Entry& reference() {
  static const Catalogue catalogue = Catalogue::built_in();
  return catalogue.gpu("h800");
}

// C(n, k) of small numbers.
double choose(double n, double k) {
  if (k > n) return 0;
  double product = 1;
  for (double i = 0; i < k; ++i) product *= (n - i) / (k - i);
  return product;
}

}  // namespace

Rates::Rates(const Entry& gpu, Worksheet& sheet) : gpu_(gpu), sheet_(sheet) {}

double Rates::reached(std::string_view key, std::string_view nominal) const {
  if (gpu_.has(key)) return gpu_.at(key, sheet_);
  const double share = reference().at(key) / reference().at(nominal);
  const double value = gpu_.at(nominal, sheet_) * share;
  sheet_.assume(fmt::format("{}.{}", gpu_.id(), key), value, unit_of_figure(key),
                fmt::format("{:.1f}% of {}, as on the H800", 100 * share, nominal));
  return value;
}

double Rates::memory() const {
  return kGiga * reached("memory_achieved_gb_s", "memory_gb_s");
}
double Rates::weight_read() const {
  return kGiga * reached("weight_read_gb_s", "memory_gb_s");
}
double Rates::gemm_bf16() const {
  return kTera * reached("gemm_bf16_tflops", "bf16_tflops");
}
double Rates::gemm_fp8() const {
  if (gpu_.has("gemm_fp8_tflops") || gpu_.has("fp8_tflops"))
    return kTera * reached("gemm_fp8_tflops", "fp8_tflops");
  sheet_.assume(gpu_.id() + " FP8", "products run in BF16", "it has no FP8 units");
  return gemm_bf16();
}
double Rates::nvlink() const {
  return kGiga * reached("nvlink_achieved_gb_s", "nvlink_gb_s");
}
double Rates::low_latency() const {
  return kGiga * reached("nic_low_latency_gb_s", "nic_gb_s");
}
double Rates::dispatch() const {
  return kGiga * reached("nic_dispatch_gb_s", "nic_gb_s");
}
double Rates::combine() const {
  return kGiga * reached("nic_combine_gb_s", "nic_gb_s");
}
double Rates::nic() const {
  return kGiga * gpu_.at("nic_gb_s", sheet_);
}

double Rates::fp8_nominal(const Entry& entry) const {
  return entry.has("fp8_tflops") ? entry.at("fp8_tflops") : entry.at("bf16_tflops");
}

const Entry& Rates::profile() const {
  if (gpu_.has("profile_overlapped_ms")) return gpu_;
  sheet_.assume("operator times", "the H800's, scaled by FP8 peak and NIC rate",
                fmt::format("{} has no profile in the catalogue", gpu_.id()));
  return reference();
}

double Rates::profiled(std::string_view key, double work) const {
  const Entry& from = profile();
  const double ms = &from == &gpu_ ? from.at(key, sheet_) : from.at(key);
  return work * ms / 1e3 * (&from == &gpu_ ? 1 : fp8_nominal(from) / fp8_nominal(gpu_));
}

double Rates::profiled_network(std::string_view key, double work) const {
  const Entry& from = profile();
  const double ms = &from == &gpu_ ? from.at(key, sheet_) : from.at(key);
  return work * ms / 1e3 * reference().at("nic_gb_s") / gpu_.at("nic_gb_s", sheet_);
}

double Rates::overlap_overhead() const {
  const Entry& from = profile();
  double computing = 0;
  for (const char* part : {"attention_forward", "mlp_forward", "attention_backward", "mlp_backward",
                           "attention_weight", "mlp_weight"})
    computing += from.at(fmt::format("profile_{}_ms", part));
  return std::max(1.0, from.at("profile_overlapped_ms") / computing);
}

double expected_nodes(const ModelShape& s, double nodes) {
  const auto groups = static_cast<double>(s.groups), chosen = static_cast<double>(s.top_groups);
  if (groups > 1 && groups >= nodes)
    return nodes * (1 - choose(groups - groups / nodes, chosen) / choose(groups, chosen));
  const double unlimited = nodes * (1 - std::pow(1 - 1 / nodes, static_cast<double>(s.top_k)));
  return groups > 1 ? std::min(unlimited, chosen * nodes / groups) : unlimited;
}

}  // namespace fathom::cluster
