// fathom debug formats: what number formats do to the outputs of a model's residual branches.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "base/error.h"
#include "base/file.h"
#include "base/progress.h"
#include "checkpoint/model_io.h"
#include "formats.h"
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
using train::NumberFormat;

std::vector<int32_t> read_ids(const FormatsArguments& o, const ModelConfig& config,
                              ThreadPool& pool) {
  if (o.seq_len > config.max_position_embeddings)
    throw UsageError(fmt::format("--seq-len {} is past the model's limit", o.seq_len),
                     fmt::format("at most {}", config.max_position_embeddings));
  const Tokenizer tokenizer = Tokenizer::load(o.model);
  std::vector<int32_t> ids = tokenizer.encode_parallel(read_text_file(o.text), {true, false}, pool);
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
  double experts, all;
};

struct Results {
  BranchMeasurement measured;
  std::vector<FormatLoss> losses;
};

Results measure(const train::BranchStudy& study) {
  Progress progress("measuring", 1 + 2 * kNumberFormats.size(), "pass");
  Results out{train::measure_branches(study), {}};
  progress.update(1);
  for (const NumberFormat format : kNumberFormats) {
    const double experts = train::compressed_loss(study, format, Compressed::kExperts);
    const double all = train::compressed_loss(study, format, Compressed::kAllBranches);
    out.losses.push_back({format, experts, all});
    progress.update(static_cast<double>(1 + 2 * out.losses.size()));
  }
  return out;
}

const train::FormatNoise& noise_of(const BranchNoise& b, NumberFormat format) {
  return b.formats[static_cast<size_t>(format)];
}

void print_text(const Results& r, size_t tokens) {
  fmt::print("{} tokens; signal-to-noise ratio, dB:\n{:<6}{:<11}{:>10}", tokens, "layer", "branch",
             "rms");
  for (const NumberFormat format : kNumberFormats) fmt::print("{:>10}", train::name_of(format));
  for (const BranchNoise& b : r.measured.branches) {
    fmt::print("\n{:<6}{:<11}{:>10.4g}", b.layer, train::name_of(b.branch), b.rms);
    for (const NumberFormat format : kNumberFormats)
      fmt::print("{:>10.1f}", noise_of(b, format).signal_to_noise_db());
  }
  fmt::print(
      "\n\nheld-out loss {:.6f} nats a token; sent in another format:\n{:<10}{:>6}{:>14}"
      "{:>12}{:>14}{:>12}\n",
      r.measured.loss, "format", "bits", "experts", "change", "all branches", "change");
  for (const FormatLoss& l : r.losses)
    fmt::print("{:<10}{:>6.2f}{:>14.6f}{:>+11.4f}%{:>14.6f}{:>+11.4f}%\n", train::name_of(l.format),
               train::bits_per_value(l.format), l.experts, 100 * (l.experts / r.measured.loss - 1),
               l.all, 100 * (l.all / r.measured.loss - 1));
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

Report report_of(const FormatLoss& l) {
  Report out;
  out.add("format", train::name_of(l.format));
  out.add("bits_per_value", train::bits_per_value(l.format));
  out.add("loss_experts", l.experts);
  out.add("loss_all_branches", l.all);
  return out;
}

void print_json(const Results& r, size_t tokens) {
  Report report;
  report.add("tokens", static_cast<int64_t>(tokens));
  report.add("loss", r.measured.loss);
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
    print_json(results, ids.size() - 1);
  else
    print_text(results, ids.size() - 1);
  return 0;
}

}  // namespace fathom::app
