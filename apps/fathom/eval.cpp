#include <fmt/format.h>

#include <cmath>
#include <optional>

#include "checkpoint/model_io.h"
#include "held_out.h"
#include "infer/cached_model.h"
#include "kernels/cross_entropy.h"
#include "model_argument.h"
#include "options.h"
#include "precision.h"
#include "report.h"
#include "session.h"

namespace fathom::app {
namespace {

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
                                      model.model().weights().lm_head.operand(),
                                      token_T1.subspan(1), {}, model.precision().precision);
  };
}

}  // namespace

int run_eval(const GlobalOptions& global, const EvalArguments& options) {
  StoredModel stored = StoredModel::open(options.model);
  const int64_t seq_len = window_of(stored.config, options.seq_len);
  Session session(global);
  const auto [ids, bytes] = read_held_out(
      session.pool, stored.config, load_tokenizer(options.model, options.tokenizer), options.text);
  const ModelPrecision precision(session.ctx, stored.config, stored.weights, options.precision);
  const Transformer model(stored.config, stored.weights, seq_len);
  std::optional<CachedModel> cached;
  if (!options.cache_dtype.empty())
    cached.emplace(model, session.pool,
                   CacheOptions{.precision = precision.options(),
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
  report.add("bits_per_byte", total / std::log(2.0) / static_cast<double>(bytes));
  report.print(global.json);
  return 0;
}

}  // namespace fathom::app
