#include "cluster/rates.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace fathom::cluster {
namespace {

constexpr double kGiga = 1e9, kTera = 1e12;

const Catalogue& built_in() {
  static const Catalogue catalogue = Catalogue::built_in();
  return catalogue;
}

const Entry& reference() {
  return built_in().gpu("h800");
}

// The catalogue's own entry of that name, before any what-if.
const Entry* original(const Entry& entry) {
  const std::vector<std::string> names = built_in().names("gpu");
  const bool known = std::find(names.begin(), names.end(), entry.id()) != names.end();
  return known ? &built_in().gpu(entry.id()) : nullptr;
}

bool inside_nvlink(const Entry& gpu, int64_t ep) {
  return gpu.has("nvlink_domain") && static_cast<double>(ep) <= gpu.at("nvlink_domain");
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
  if (gpu_.has(key)) return gpu_.at(key, sheet_) * what_if(key, nominal);
  const double share = reference().at(key) / reference().at(nominal);
  const double value = gpu_.at(nominal, sheet_) * share;
  sheet_.assume(fmt::format("{}.{}", gpu_.id(), key), value, unit_of_figure(key),
                fmt::format("{:.1f}% of {}, as on the H800", 100 * share, nominal));
  return value;
}

double Rates::what_if(std::string_view measured, std::string_view nominal) const {
  const Entry* before = original(gpu_);
  if (!before || !before->has(measured) || !before->has(nominal)) return 1;
  if (before->at(measured) != gpu_.at(measured)) return 1;
  const double now = gpu_.at(nominal), share = now / before->at(nominal);
  if (share != 1)
    sheet_.assume(fmt::format("{}.{}, what if", gpu_.id(), measured),
                  fmt::format("{:.4g} times as much", share),
                  fmt::format("as {} = {:.6g}", nominal, now));
  return share;
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
  const double scale = &from == &gpu_
                           ? 1 / what_if(key, gpu_.has("fp8_tflops") ? "fp8_tflops" : "bf16_tflops")
                           : fp8_nominal(from) / fp8_nominal(gpu_);
  return work * ms / 1e3 * scale;
}

double Rates::profiled_network(std::string_view key, double work) const {
  const Entry& from = profile();
  const double ms = &from == &gpu_ ? from.at(key, sheet_) : from.at(key);
  return work * ms / 1e3 * reference().at("nic_gb_s") / gpu_.at("nic_gb_s", sheet_);
}

double Rates::kernel_gaps(std::string_view count_key) const {
  if (!gpu_.has("sms")) return 0;
  const Entry& from = profile();
  const auto figure = [&](std::string_view key) {
    return &from == &gpu_ && gpu_.has(key) ? gpu_.at(key, sheet_) : reference().at(key);
  };
  return figure(count_key) * figure("profile_kernel_gap_us") / 1e6;
}

double Rates::overlap_overhead() const {
  const Entry& from = profile();
  double computing = 0;
  for (const char* part : {"attention_forward", "mlp_forward", "attention_backward", "mlp_backward",
                           "attention_weight", "mlp_weight"})
    computing += from.at(fmt::format("profile_{}_ms", part));
  return std::max(1.0, from.at("profile_overlapped_ms") / computing);
}

Exchange exchange_alone(const ModelShape& shape, const Entry& gpu, const Rates& rates,
                        double tokens, int64_t ep, double dispatch_bytes, double combine_bytes) {
  if (!shape.is_moe() || ep == 1) return {};
  const bool inside = inside_nvlink(gpu, ep);
  const double nodes = std::max(1.0, static_cast<double>(ep) / gpu.at("gpus_per_node"));
  const double copies = inside ? static_cast<double>(shape.top_k) : expected_nodes(shape, nodes);
  const double values = tokens * static_cast<double>(shape.hidden) * copies;
  const double dispatch = inside ? rates.nvlink() : rates.dispatch();
  const double combine = inside ? rates.nvlink() : rates.combine();
  return {
      values * dispatch_bytes / dispatch, values * combine_bytes / combine,
      fmt::format("{} tokens x {} values x {:.4g} copies x ({} bytes / {:.4g} + {} bytes / "
                  "{:.4g} bytes/s)",
                  tokens, shape.hidden, copies, dispatch_bytes, dispatch, combine_bytes, combine)};
}

double expected_nodes(const ModelShape& s, double nodes) {
  const auto groups = static_cast<double>(s.groups), chosen = static_cast<double>(s.top_groups);
  if (groups > 1 && groups >= nodes)
    return nodes * (1 - choose(groups - groups / nodes, chosen) / choose(groups, chosen));
  const double unlimited = nodes * (1 - std::pow(1 - 1 / nodes, static_cast<double>(s.top_k)));
  return groups > 1 ? std::min(unlimited, chosen * nodes / groups) : unlimited;
}

}  // namespace fathom::cluster
