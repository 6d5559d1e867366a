#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/fp8_recipe.h"

namespace fathom::train {

/// A point of the run: up to 1 it is a share of the run's tokens, above 1 a number of tokens. So
/// `constant_until = 0.68` and the paper's own `constant_until = 10e12` both say what they mean.
using RunPoint = double;

enum class Precision : uint8_t { kFp32, kBf16, kFp8 };
enum class LrShape : uint8_t { kConstant, kCosine, kDeepseekV3 };

/// A training run as its TOML file describes it; sections and keys have the names of the members.
/// Defaults are DeepSeek-V3's (TR §4.1, §4.2) where they make sense at any scale.
struct TrainConfig {
  /// A config.json, a checkpoint directory to start from, or a preset's name. Required.
  std::string model;

  struct Data {
    std::vector<std::filesystem::path> train;  ///< files and directories (data_source.h). Required.
    std::vector<std::filesystem::path> valid;  ///< empty: valid_fraction of the training documents
    double valid_fraction = 0.02;              ///< 0: no held-out loss
    std::filesystem::path tokenizer;  ///< directory or tokenizer.json; empty: beside the model
    int64_t seq_len = 4096;
    double fim_rate = 0.1;  ///< share of documents rearranged for fill-in-the-middle
    bool shuffle = true;
    std::filesystem::path cache_dir;  ///< tokenised text; empty: `cache` in the run's directory
  } data;

  struct Train {
    int64_t steps = 0;               ///< Required.
    int64_t batch_tokens = 0;        ///< tokens a step (after the ramp). Required.
    int64_t batch_tokens_start = 0;  ///< at the start of the ramp; default batch_tokens
    int64_t batch_ramp_tokens = 0;   ///< tokens over which the batch grows linearly; 0: none
    int64_t micro_batch = 1;         ///< sequences computed at once; the rest is accumulated
    Precision precision = Precision::kBf16;
    /// Compute again in the backward what RMSNorm and MLA's up-projections gave (spec C) rather
    /// than keep it. Always so in FP8, whose default it is.
    bool recompute = false;
    int64_t seed = 0;
    int64_t eval_every = 100;        ///< steps; 0: only after the last one
    int64_t eval_tokens = 0;         ///< held-out tokens an evaluation reads; 0: all
    int64_t checkpoint_every = 500;  ///< steps; 0: only after the last one
    int64_t keep_checkpoints = 3;    ///< older ones are removed; 0: all are kept
    bool log_batches = false;        ///< write every batch's token ids beside the metrics
    double loss_spike_factor = 1.5;  ///< a loss above factor x its moving average …
    double loss_spike_sigmas = 6;    ///< … and this many standard deviations above it …
    int64_t loss_spike_steps = 5;    ///< … this many steps in a row stops the run; 0: never
  } train;

  /// The FP8 recipe, used when train.precision is fp8. Defaults are the paper's (spec C).
  struct Fp8 {
    Fp8Recipe recipe;
    /// Accumulate as Hopper's tensor cores do, promoting to FP32 after every promotion_interval
    /// elements (0: never): for studies, far slower.
    bool emulate_hopper = false;
    int64_t promotion_interval = 128;
    bool statistics = false;  ///< amax, underflow and saturation of operands at evaluations
  } fp8;

  struct Optimizer {
    double lr = 2.2e-4;  ///< peak
    std::array<double, 2> betas = {0.9, 0.95};
    double eps = 1e-8;  ///< not stated in the report
    double weight_decay = 0.1;
    double grad_clip = 1.0;                ///< global norm; 0: no clipping
    Precision moments = Precision::kBf16;  ///< storage of Adam's m and v
    double ema_decay = 0;                  ///< 0: no moving average of the weights is kept

    /// Linear warm-up, constant, cosine decay, constant, constant tail. `type` only chooses the
    /// defaults of the points below; `schedule = "cosine"` is short for a table with that type.
    struct Schedule {
      LrShape type = LrShape::kDeepseekV3;
      int64_t warmup_steps = 0;     ///< default: 2000, at most a tenth of the run
      RunPoint constant_until = 0;  ///< the peak holds until here
      RunPoint cosine_until = 0;    ///< then a cosine falls to cosine_ratio x lr
      double cosine_ratio = 0;
      RunPoint tail_from = 0;  ///< from here on tail_ratio x lr
      double tail_ratio = 0;
    } schedule;
  } optimizer;

  struct Moe {
    double bias_update_speed = 0.001;          ///< γ of the aux-loss-free balance (TR §2.1.2)
    RunPoint bias_update_until = 14.3 / 14.8;  ///< γ is 0 afterwards
    double balance_alpha = 1e-4;               ///< α of the sequence-wise loss (TR eq 17)
  } moe;

  struct Mtp {
    double lambda = 0.3;        ///< weight of the MTP loss (TR eq 25)
    double lambda_final = 0.1;  ///< from lambda_switch on; default lambda if only that is given
    RunPoint lambda_switch = 10.0 / 14.8;
  } mtp;

  /// Every effective value, derived defaults included. Parsing it again gives the same config.
  std::string to_toml() const;
};

/// Reads a TOML file, then applies `key=value` overrides in order: dotted keys; the value in TOML
/// syntax, or a bare string. Unknown keys, wrong types and values out of range throw an Error that
/// names the file (or the override), the key and the value. Relative paths are resolved against the
/// TOML file's directory, those of an override against the working directory; paths come out
/// absolute.
TrainConfig load_train_config(const std::filesystem::path& path,
                              std::span<const std::string> overrides = {});

/// The same from text; `path` serves for messages and relative paths.
TrainConfig parse_train_config(std::string_view text, const std::filesystem::path& path,
                               std::span<const std::string> overrides = {});

}  // namespace fathom::train
