#pragma once

#include <optional>
#include <vector>

#include "cluster/layout.h"
#include "cluster/rates.h"
#include "dist/simulate.h"

namespace fathom::cluster {

/// Seconds of a step by kind of operation, mean over the GPUs of a pipeline: the rows of ISCA
/// Table 4. A full backward counts its halves under 1B and 1W.
struct PhaseTimes {
  double forward = 0;     ///< 1F
  double backward = 0;    ///< 1B
  double weight = 0;      ///< 1W
  double overlapped = 0;  ///< 1F1B
  double total() const { return forward + backward + weight + overlapped; }
};

/// Seconds that the parts of a layer take for one micro-batch.
struct LayerTimes {
  double forward = 0, backward = 0, weight = 0;  ///< with their communication, not overlapped
  double overlapped = 0;                         ///< of a forward and a full backward as a pair
};

/// One pass of one micro-batch through the output head (forward, or either half of the backward):
/// its GEMM in BF16 on the SMs that communication leaves, and its logits written and read in FP32.
double head_pass_seconds(const ModelShape& shape, const Layout& layout, const Entry& gpu,
                         const Rates& rates, Worksheet& sheet);

/// From the measured times of DeepSeek-V3's layer, scaled to this shape, layout and hardware. A
/// pair takes as long as measured, its exchanges running beside it; alone, the exchanges take the
/// published times of the kernels alone. The profile's experts were balanced: `imbalance`, the
/// busiest GPU's load over the mean, multiplies the routed experts and the exchanges of an MoE
/// layer, for which the others wait.
LayerTimes layer_times(const ModelShape& shape, bool moe_layer, const Layout& layout,
                       const Entry& gpu, const Rates& rates, double imbalance);

/// A micro-batch's activations, or their gradient, from stage to stage.
double message_seconds(const ModelShape& shape, const Layout& layout, const Rates& rates);

/// Adds up layers and heads; `messages` is what those between stages add to a pair, whose
/// exchanges keep the network busy (the profile has none).
std::vector<dist::StageTimes> times_of_stages(const std::vector<Stage>& stages,
                                              const LayerTimes& dense, const LayerTimes& moe,
                                              double head, double messages);

/// Times of every stage. With `published` the layers' times are those that make the mean GPU spend
/// exactly these totals in a step, all layers alike; `imbalance` is of the others, as above.
std::vector<dist::StageTimes> stage_times(const ModelShape& shape, const Layout& layout,
                                          const Entry& gpu, const dist::Schedule& schedule,
                                          const std::optional<PhaseTimes>& published,
                                          double imbalance, Worksheet& sheet);

/// Adds up what each GPU spends on the operations of its list; mean over the GPUs.
PhaseTimes phase_times(const dist::Schedule& schedule, const std::vector<dist::StageTimes>& stages);

}  // namespace fathom::cluster
