#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <optional>

#include "base/error.h"
#include "base/file.h"
#include "base/progress.h"
#include "checkpoint/model_io.h"
#include "infer/cached_model.h"
#include "kernels/cross_entropy.h"
#include "model_argument.h"
#include "options.h"
#include "precision.h"
#include "report.h"
#include "session.h"
#include "text/tokenizer.h"
#include "train/objective.h"

namespace fathom::app {
namespace {

/// The sum over a window's tokens of the loss of the token after each.
using WindowLoss = std::function<double(std::span<const int32_t> token_T1)>;

// Consecutive windows of seq_len tokens, each predicting the token after every one of its own; the
// last may be shorter.
double total_loss(const std::vector<int32_t>& ids, int64_t seq_len, const WindowLoss& loss_of) {
  const auto predicted = static_cast<int64_t>(ids.size()) - 1;
  Progress progress("evaluating", static_cast<double>(predicted), "token");
  double loss = 0;
  for (int64_t begin = 0; begin < predicted; begin += seq_len) {
    const int64_t length = std::min(seq_len, predicted - begin);
    loss += loss_of(
        std::span(ids).subspan(static_cast<size_t>(begin), static_cast<size_t>(length + 1)));
    progress.update(static_cast<double>(begin + length));
  }
  return loss;
}

WindowLoss plain_loss(Context& ctx, const Transformer& model, const PassOptions& precision) {
  return [&ctx, &model, precision](std::span<const int32_t> token_T1) {
    const train::TokenWindows window{token_T1.data(), 1, std::ssize(token_T1) - 1, 1};
    return train::objective_forward(ctx, model, window, precision).main;
  };
}

// Read as generate reads a prompt, so that the loss shows what the cache's format costs.
WindowLoss cached_loss(CachedModel& model) {
  return [&model](std::span<const int32_t> token_T1) {
    const ArenaScope scope(model.arena());
    const auto tokens = token_T1.first(token_T1.size() - 1);
    SequenceCache cache(model.pages());
    FATHOM_ASSERT(cache.reserve(std::ssize(tokens)));
    const CachedModel::Tokens part{&cache, tokens};
    const TensorView hidden_TD = model.forward(TokenForm::kPacked, {&part, 1});
    return kernels::head_loss_forward(model.context(TokenForm::kPacked), hidden_TD,
                                      model.model().weights().lm_head.weight, token_T1.subspan(1),
                                      {}, model.precision());
  };
}

}  // namespace

int run_eval(const GlobalOptions& global, const EvalArguments& options) {
  StoredModel stored = StoredModel::open(options.model);
  const Tokenizer tokenizer = Tokenizer::load(tokenizer_of(options.model, options.tokenizer));
  const int64_t limit = stored.config.max_position_embeddings;
  const int64_t seq_len = options.seq_len > 0 ? options.seq_len : std::min<int64_t>(512, limit);
  if (seq_len > limit)
    throw UsageError(fmt::format("--seq-len {} is past the model's limit", seq_len),
                     fmt::format("at most {}", limit));
  if (!options.cache_dtype.empty() && options.precision == "fp8")
    throw UsageError("--cache-dtype reads as generate does, which has no --precision fp8",
                     "leave one of the two out");
  const std::string text = read_text_file(options.text);
  Session session(global);
  const std::vector<int32_t> ids = tokenizer.encode_parallel(text, {true, false}, session.pool);
  if (ids.size() < 2)
    throw Error(fmt::format("{} holds nothing to predict", options.text), "give a longer text");
  if (const int32_t top = *std::max_element(ids.begin(), ids.end());
      top >= stored.config.vocab_size)
    throw Error(fmt::format("{}: the tokenizer gives id {}, but vocab_size is {}", options.model,
                            top, stored.config.vocab_size),
                "use the tokenizer that the model was trained with");
  const ModelPrecision precision(session.ctx, stored.config, stored.weights, options.precision);
  const Transformer model(stored.config, stored.weights, seq_len);
  std::optional<CachedModel> cached;
  if (!options.cache_dtype.empty())
    cached.emplace(model, session.pool,
                   CacheOptions{.precision = parse_precision(options.precision),
                                .cache_format = parse_cache_format(options.cache_dtype)});
  const double total = total_loss(
      ids, seq_len,
      cached ? cached_loss(*cached) : plain_loss(session.ctx, model, precision.options()));
  const auto tokens = static_cast<int64_t>(ids.size()) - 1;
  const double loss = total / static_cast<double>(tokens);
  Report report;
  report.add("tokens", tokens);
  report.add("loss", loss, fmt::format("{:.4f} nats a token", loss));
  report.add("perplexity", std::exp(loss));
  report.add("bits_per_byte", total / std::log(2.0) / static_cast<double>(text.size()));
  report.print(global.json);
  return 0;
}

}  // namespace fathom::app
