#pragma once

#include "checkpoint/weight_format.h"

namespace fathom {

/// What a model of this shape takes in a storage format.
struct FormatSize {
  uint64_t bytes = 0;  ///< of all tensors; MTP modules without their copies of embedding and head
  /// Of the weights that decoding one token of one sequence reads: everything but the embedding,
  /// the MTP modules and the experts that are not chosen. Over the bandwidth: the time of a token.
  double bytes_per_token = 0;
};
FormatSize format_size(const ModelConfig& config, const WeightFormat& format);

}  // namespace fathom
