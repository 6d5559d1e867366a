#pragma once

#include <cstdint>
#include <vector>

#include "cluster/model_shape.h"
#include "cluster/worksheet.h"

namespace fathom::cluster {

/// Floating-point operations of one token's forward pass, by part; a multiply-add counts two.
struct ForwardFlops {
  double linear = 0;     ///< matrices of attention, feed-forward networks and gates, all layers
  double attention = 0;  ///< scores and values over the mean context
  double head = 0;
  double total() const { return linear + attention + head; }
};

/// mean_context: keys that a query sees, on average: seq_len / 2 when causal.
ForwardFlops forward_flops(const ModelShape& shape, double mean_context);
/// The MTP modules' part: their layer, the joining projection and their pass through the head.
ForwardFlops mtp_forward_flops(const ModelShape& shape, double mean_context);

/// Scores and values of one layer for one query over `context` keys.
double attention_flops(const ModelShape& shape, double context);

/// Training costs three forward passes. V3 at 4096 tokens, causal, without MTP: 250 GFLOP.
double training_flops(const ModelShape& shape, double seq_len, bool causal, bool with_mtp);

/// The rule that the dense rows of ISCA Table 2 follow: 6 (12 layers hidden² + vocab hidden),
/// a classic Transformer's matrices with no attention scores: 394 for Qwen-72B, 2448 for
/// LLaMA-405B. Meant for dense models.
double classic_training_flops(const ModelShape& shape);

/// As ISCA Table 2 counts: training, causal, without MTP; dense models by the classic rule.
double table2_training_flops(const ModelShape& shape, double seq_len);

void plan_flops(const ModelShape& shape, int64_t seq_len, Worksheet& sheet);

/// One row a model: ISCA Table 2, and the exact counts beside it.
void compare_flops(const std::vector<ModelShape>& shapes, int64_t seq_len, Worksheet& sheet);

}  // namespace fathom::cluster
