// fathom debug formats: what number formats do to the outputs of a model's residual branches.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "base/error.h"
#include "base/file.h"
#include "base/progress.h"
#include "checkpoint/model_io.h"
#include "formats.h"
#include "model_argument.h"
#include "report.h"
#include "session.h"
#include "text/tokenizer.h"
#include "train/branch_formats.h"

namespace fathom::app {
namespace {

using train::BranchMeasurement;
using train::BranchNoise;
using train::Compressed;
using train::kNumberFormats;
using train::LossChange;
using train::NumberFormat;

std::vector<int32_t> read_ids(const FormatsArguments& o, const ModelConfig& config,
                              ThreadPool& pool) {
  if (o.seq_len > config.max_position_embeddings)
    throw UsageError(fmt::format("--seq-len {} is past the model's limit", o.seq_len),
                     fmt::format("at most {}", config.max_position_embeddings));
  const Tokenizer tokenizer = load_tokenizer(o.model);
  std::vector<int32_t> ids =
      tokenizer.encode_parallel(read_input_file(o.text), {true, false}, pool);
  ids.resize(std::min(ids.size(), static_cast<size_t>(o.max_tokens) + 1));
  if (ids.size() < 2)
    throw Error(fmt::format("{} holds nothing to predict", o.text), "give a longer text");
  if (const int32_t top = *std::max_element(ids.begin(), ids.end()); top >= config.vocab_size)
    throw Error(fmt::format("{}: the tokenizer gives id {}, but vocab_size is {}", o.model, top,
                            config.vocab_size),
                "use the tokenizer that the model was trained with");
  return ids;
}

/// Held-out losses with experts' outputs, and with all branches, in one format.
struct FormatLoss {
  NumberFormat format;
  LossChange experts, all;
};

struct Results {
  BranchMeasurement measured;
  std::vector<FormatLoss> losses;
};

Results measure(const train::BranchStudy& study) {
  Progress progress("measuring", 1 + 2 * kNumberFormats.size(), "pass");
  Results out{train::measure_branches(study), {}};
  int passes = 1;
  progress.update(passes);
  for (const NumberFormat format : kNumberFormats) {
    const auto change = [&](Compressed which) {
      const std::vector<float> losses = train::compressed_losses(study, format, which);
      progress.update(++passes);
      return train::loss_change(out.measured.losses, losses);
    };
    const LossChange experts = change(Compressed::kExperts);
    out.losses.push_back({format, experts, change(Compressed::kAllBranches)});
  }
  return out;
}

const train::FormatNoise& noise_of(const BranchNoise& b, NumberFormat format) {
  return b.formats[static_cast<size_t>(format)];
}

void print_text(const Results& r) {
  fmt::print("{} tokens; signal-to-noise ratio, dB:\n{:<6}{:<11}{:>10}", r.measured.losses.size(),
             "layer", "branch", "rms");
  for (const NumberFormat format : kNumberFormats) fmt::print("{:>10}", train::name_of(format));
  for (const BranchNoise& b : r.measured.branches) {
    fmt::print("\n{:<6}{:<11}{:>10.4g}", b.layer, train::name_of(b.branch), b.rms);
    for (const NumberFormat format : kNumberFormats)
      fmt::print("{:>10.1f}", noise_of(b, format).signal_to_noise_db());
  }
  const double loss = train::mean_loss(r.measured.losses);
  fmt::print(
      "\n\nheld-out loss {:.6f} nats a token; its change in percent, and the rms of the tokens' "
      "changes in nats, with\n{:<10}{:>6}{:>24}{:>10}{:>24}{:>10}\n",
      loss, "format", "bits", "experts compressed", "rms", "all branches compressed", "rms");
  const auto percent = [&](const LossChange& c) {
    return fmt::format("{:+.4f} ± {:.4f}", 100 * c.change / loss, 100 * c.standard_error / loss);
  };
  for (const FormatLoss& l : r.losses)
    fmt::print("{:<10}{:>6.2f}{:>24}{:>10.5f}{:>24}{:>10.5f}\n", train::name_of(l.format),
               train::bits_per_value(l.format), percent(l.experts), l.experts.rms, percent(l.all),
               l.all.rms);
  if (std::fflush(stdout) != 0) throw_errno("cannot write to standard output");
}

Report report_of(const BranchNoise& b) {
  Report out;
  out.add("layer", b.layer);
  out.add("branch", train::name_of(b.branch));
  out.add("rms", b.rms);
  for (const NumberFormat format : kNumberFormats) {
    const train::FormatNoise& noise = noise_of(b, format);
    Report one;
    one.add("signal_to_noise_db", noise.signal_to_noise_db());
    one.add("underflow", noise.underflow());
    one.add("bias", noise.bias());
    out.add(train::name_of(format), one);
  }
  return out;
}

Report report_of(const LossChange& c) {
  Report out;
  out.add("loss", c.loss);
  out.add("change", c.change);
  out.add("standard_error", c.standard_error);
  out.add("rms_token_change", c.rms);
  return out;
}

Report report_of(const FormatLoss& l) {
  Report out;
  out.add("format", train::name_of(l.format));
  out.add("bits_per_value", train::bits_per_value(l.format));
  out.add("experts", report_of(l.experts));
  out.add("all_branches", report_of(l.all));
  return out;
}

void print_json(const Results& r) {
  Report report;
  report.add("tokens", static_cast<int64_t>(r.measured.losses.size()));
  report.add("loss", train::mean_loss(r.measured.losses));
  std::vector<Report> formats, branches;
  for (const FormatLoss& l : r.losses) formats.push_back(report_of(l));
  for (const BranchNoise& b : r.measured.branches) branches.push_back(report_of(b));
  report.add("formats", formats);
  report.add("branches", branches);
  report.print(true);
}

}  // namespace

int run_debug_formats(const GlobalOptions& global, const FormatsArguments& o) {
  const StoredModel stored = StoredModel::open(o.model);
  Session session(global);
  const std::vector<int32_t> ids = read_ids(o, stored.config, session.pool);
  const Transformer model(stored.config, stored.weights, o.seq_len);
  const Results results =
      measure({session.ctx, model, ids, o.seq_len, parse_precision(o.precision)});
  if (global.json)
    print_json(results);
  else
    print_text(results);
  return 0;
}

}  // namespace fathom::app
