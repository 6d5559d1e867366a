#pragma once

#include <array>
#include <functional>
#include <span>
#include <vector>

#include "model/transformer.h"
#include "train/number_formats.h"

namespace fathom::train {

/// Outputs of a layer's residual branches: what attention adds to the residual stream [T, D]; what
/// the routed experts send to combine [S, D]; what the FFN adds in all [T, D].
enum class Branch : uint8_t { kAttention, kExperts, kFfn };
std::string_view name_of(Branch branch);

/// Sees a branch's output before it is added, and may change it. F32, experts' in the format of
/// activations.
using BranchVisitor = std::function<void(int64_t layer, Branch branch, TensorView values)>;

/// A model reading a text in consecutive windows of seq_len tokens, each predicting the token after
/// every one of its own. MTP modules take no part.
struct BranchStudy {
  Context& ctx;
  const Transformer& model;
  std::span<const int32_t> ids;  ///< at least two
  int64_t seq_len = 512;
  kernels::GemmPrecision precision = kernels::GemmPrecision::kBF16;

  /// Next-token cross-entropy of each token, nats, with every branch passing through `visit`.
  std::vector<float> losses(const BranchVisitor& visit) const;
};

/// What the formats do to one branch of one layer.
struct BranchNoise {
  int64_t layer = 0;
  Branch branch{};
  double rms = 0;  ///< of the values
  std::array<FormatNoise, kNumberFormats.size()> formats = {};
};
struct BranchMeasurement {
  std::vector<float> losses;          ///< of each token, nothing compressed
  std::vector<BranchNoise> branches;  ///< layer by layer
};
BranchMeasurement measure_branches(const BranchStudy& study);

/// How far losses of the same tokens lie from those of the model as it is.
struct LossChange {
  double loss = 0;            ///< mean, nats
  double change = 0;          ///< of the mean
  double standard_error = 0;  ///< of `change`, the tokens' changes taken as independent
  double rms = 0;             ///< of the tokens' changes
};
double mean_loss(std::span<const float> losses);
LossChange loss_change(std::span<const float> before, std::span<const float> after);

/// Which branches are sent in a format: the experts' alone, as combine would; or all that is added
/// to the residual stream, as LogFMT was tried out on dense models (hardware paper, section 3.2).
enum class Compressed : uint8_t { kExperts, kAllBranches };
std::vector<float> compressed_losses(const BranchStudy& study, NumberFormat format,
                                     Compressed which);

}  // namespace fathom::train
