#include <fmt/format.h>

#include "base/error.h"
#include "checkpoint/model_io.h"
#include "checkpoint/safetensors_writer.h"
#include "infer/token_range.h"
#include "options.h"
#include "precision.h"
#include "report.h"
#include "session.h"
#include "train/objective.h"

namespace fathom::app {
namespace {

void check_ids(const ModelConfig& config, const std::vector<int32_t>& ids, size_t least) {
  if (ids.size() < least)
    throw UsageError(fmt::format("--ids has {} tokens", ids.size()),
                     fmt::format("give at least {}", least));
  for (const int32_t id : ids)
    if (id < 0 || id >= config.vocab_size)
      throw UsageError(fmt::format("--ids: token {} is outside the vocabulary", id),
                       fmt::format("ids are 0 to {}", config.vocab_size - 1));
}

// "mtp_logits" for depth 1, "mtp_logits.2" for depth 2.
std::string mtp_name(int64_t depth) {
  return depth == 1 ? "mtp_logits" : fmt::format("mtp_logits.{}", depth);
}

Tensor logits_of(const Transformer& model, const Pass& pass, ConstTensorView hidden_TD) {
  Tensor logits(DType::kF32, {hidden_TD.rows(), model.config().vocab_size});
  model.logits(pass, hidden_TD, logits);
  return logits;
}

void write_tensors(const std::string& path, const std::vector<NamedTensor>& tensors,
                   const GlobalOptions& global) {
  write_safetensors(path, tensors);
  Report report;
  report.add("out", path);
  report.add("tensors", static_cast<int64_t>(tensors.size()));
  report.print(global.json);
}

}  // namespace

int run_debug_logits(const GlobalOptions& global, const DebugArguments& options) {
  StoredModel stored = StoredModel::open(options.model);
  check_ids(stored.config, options.ids, 1);
  const auto tokens = static_cast<int64_t>(options.ids.size());
  Session session(global);
  const ModelPrecision chosen(session.ctx, stored.config, stored.weights, options.precision);
  const PassOptions precision = chosen.options();
  const Transformer model(stored.config, stored.weights, tokens);
  const TokenRange all(0, tokens);
  const Pass pass = all.pass(session.ctx, precision);
  TransformerSaved saved;
  ConstTensorView hidden_TD = model.forward(pass, options.ids, {}, saved);
  std::vector<Tensor> logits;
  std::vector<NamedTensor> named;
  logits.push_back(logits_of(model, pass, hidden_TD));
  named.push_back({"logits", logits.back()});
  for (int64_t k = 0; k < stored.config.num_nextn_predict_layers && tokens > k + 1; ++k) {
    const int64_t rows = tokens - k - 1;
    const TokenRange shorter(0, rows);
    const Pass mtp_pass = shorter.pass(session.ctx, precision);
    const std::span<const int32_t> next(options.ids.data() + k + 1, static_cast<size_t>(rows));
    hidden_TD = model.forward_mtp(mtp_pass, k, next, hidden_TD.row_range(0, rows), {}, saved);
    logits.push_back(logits_of(model, mtp_pass, hidden_TD));
    named.push_back({mtp_name(k + 1), logits.back()});
  }
  write_tensors(options.out, named, global);
  return 0;
}

int run_debug_gradients(const GlobalOptions& global, const DebugArguments& options) {
  const StoredModel stored = StoredModel::open(options.model);
  const ModelConfig& config = stored.config;
  const auto tokens = static_cast<int64_t>(options.ids.size());
  const int64_t depth = options.mtp_lambda > 0 ? config.num_nextn_predict_layers : 0;
  check_ids(config, options.ids, static_cast<size_t>(2 + depth));
  ModelStorage storage(config, DType::kF32, true);
  Session session(global);
  copy_weights(session.ctx, stored, storage.weights);
  const ModelPrecision precision(session.ctx, config, storage.weights, options.precision);
  const Transformer model(config, storage.weights, tokens);
  PassOptions pass = precision.options();
  pass.recompute = pass.fp8;  // as training in FP8 does
  train::sequence_forward_backward(session.ctx, model, options.ids, pass, options.mtp_lambda,
                                   options.balance_alpha);
  std::vector<NamedTensor> named;
  for_each_parameter(config, storage.weights, [&](const ParameterInfo& info, Parameter& p) {
    if (p.grad) named.push_back({info.name, p.grad});
  });
  write_tensors(options.out, named, global);
  return 0;
}

}  // namespace fathom::app
