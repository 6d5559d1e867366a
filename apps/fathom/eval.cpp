#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/file.h"
#include "base/progress.h"
#include "checkpoint/model_io.h"
#include "options.h"
#include "precision.h"
#include "report.h"
#include "session.h"
#include "text/tokenizer.h"
#include "train/objective.h"

namespace fathom::app {
namespace {

// Consecutive windows of seq_len tokens, each predicting the token after every one of its own; the
// last may be shorter.
double total_loss(Context& ctx, const Transformer& model, const std::vector<int32_t>& ids,
                  int64_t seq_len, const PassOptions& precision) {
  const auto predicted = static_cast<int64_t>(ids.size()) - 1;
  Progress progress("evaluating", static_cast<double>(predicted), "token");
  double loss = 0;
  for (int64_t begin = 0; begin < predicted; begin += seq_len) {
    const int64_t length = std::min(seq_len, predicted - begin);
    const train::TokenWindows window{ids.data() + begin, 1, length, 1};
    loss += train::objective_forward(ctx, model, window, precision).main;
    progress.update(static_cast<double>(begin + length));
  }
  return loss;
}

}  // namespace

int run_eval(const GlobalOptions& global, const EvalArguments& options) {
  StoredModel stored = StoredModel::open(options.model);
  const Tokenizer tokenizer = Tokenizer::load(options.model);
  const int64_t limit = stored.config.max_position_embeddings;
  const int64_t seq_len = options.seq_len > 0 ? options.seq_len : std::min<int64_t>(512, limit);
  if (seq_len > limit)
    throw UsageError(fmt::format("--seq-len {} is past the model's limit", seq_len),
                     fmt::format("at most {}", limit));
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
  const double total = total_loss(session.ctx, model, ids, seq_len, precision.options());
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
