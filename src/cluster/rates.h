#pragma once

#include <cstdint>
#include <string>

#include "cluster/catalogue.h"
#include "cluster/model_shape.h"
#include "cluster/worksheet.h"

namespace fathom::cluster {

/// What kernels reach on a GPU. A figure that the catalogue has no measurement of is taken as the
/// same share of the data sheet as on the H800, for which they are published; the sheet says so.
/// A what-if on the data sheet's figure moves the measured one with it.
class Rates {
 public:
  Rates(const Entry& gpu, Worksheet& sheet);

  double memory() const;       ///< bytes/s of streaming reads
  double weight_read() const;  ///< bytes/s of small GEMMs that stream weights
  double gemm_bf16() const;    ///< FLOP/s
  double gemm_fp8() const;     ///< FLOP/s; of BF16 where there is no FP8
  double nvlink() const;       ///< bytes/s
  double low_latency() const;  ///< bytes/s of decoding's dispatch and combine across nodes
  double dispatch() const;     ///< bytes/s of the normal kernels across nodes
  double combine() const;
  double nic() const;  ///< bytes/s, nominal

  /// Seconds that a part of a layer takes on this GPU, from the measured profile of DeepSeek-V3's
  /// layer for 4096 tokens: `key` names the part's time, `work` is the planned layer's amount of
  /// work over the profiled layer's. Work of the tensor cores scales with the peak.
  double profiled(std::string_view key, double work) const;
  /// The same for work of the network, which scales with nic_gb_s.
  double profiled_network(std::string_view key, double work) const;
  /// Pauses between the kernels of a part of a layer's forward, s: they do not shrink with the
  /// batch. None where kernels are not launched one by one: without SMs.
  double kernel_gaps(std::string_view count_key) const;
  /// Overlapped pair over the sum of its computing parts, as measured.
  double overlap_overhead() const;

 private:
  double reached(std::string_view key, std::string_view nominal) const;
  double fp8_nominal(const Entry& entry) const;
  /// What-if on `nominal`: its value over the catalogue's, where `measured` belongs to that.
  double what_if(std::string_view measured, std::string_view nominal) const;
  const Entry& profile() const;

  const Entry& gpu_;
  Worksheet& sheet_;
};

/// Seconds of one layer's exchanges when nothing runs beside them.
struct Exchange {
  double dispatch = 0, combine = 0;
  std::string formula;
  double total() const { return dispatch + combine; }
};
/// At the published rates of the normal (not low-latency) kernels: a token goes once to each node
/// that holds its experts, or inside an NVLink domain once to each expert. Nothing for EP 1.
Exchange exchange_alone(const ModelShape& shape, const Entry& gpu, const Rates& rates,
                        double tokens, int64_t ep, double dispatch_bytes, double combine_bytes);

/// Nodes that a token's experts are on, on average, of `nodes` over which the experts are spread
/// (spec F.1): with node-limited routing groups of experts are chosen first.
double expected_nodes(const ModelShape& shape, double nodes);

}  // namespace fathom::cluster
