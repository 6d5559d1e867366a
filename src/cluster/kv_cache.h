#pragma once

#include <cstdint>
#include <vector>

#include "cluster/catalogue.h"
#include "cluster/model_shape.h"
#include "cluster/worksheet.h"

namespace fathom::cluster {

/// Bytes that a token adds to the cache over all main layers (ISCA Table 1): 70,272 for V3 with
/// 16 bits a value.
double kv_bytes_per_token(const ModelShape& shape, double bits_per_value);

/// What fits beside the weights on some GPUs of a kind.
struct FitOptions {
  int64_t gpus = 8;
  int64_t context = 4096;       ///< tokens a sequence
  double weight_bits = 8;       ///< average over all weights
  double reserved_share = 0.1;  ///< of memory, for activations, buffers and fragmentation
};

struct KvCachePlan {
  double bytes_per_token = 0;
  double sequences = 0;  ///< that fit, whole ones; with FitOptions only
};

/// With `gpu` null only the bytes a token. Weights are spread evenly over the GPUs and each
/// sequence's cache is kept once. Throws Error when the weights alone do not fit.
KvCachePlan plan_kv_cache(const ModelShape& shape, double bits_per_value, const Entry* gpu,
                          const FitOptions& fit, Worksheet& sheet);

/// One row a model, with the ratio to the first: ISCA Table 1.
void compare_kv_cache(const std::vector<ModelShape>& shapes, double bits_per_value,
                      Worksheet& sheet);

}  // namespace fathom::cluster
