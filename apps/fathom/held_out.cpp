#include "held_out.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "base/progress.h"
#include "train/objective.h"

namespace fathom::app {

HeldOutText read_held_out(ThreadPool& pool, const ModelConfig& config, const Tokenizer& tokenizer,
                          const std::string& text_file) {
  const std::string text = read_input_file(text_file);
  std::vector<int32_t> ids = tokenizer.encode_parallel(text, {true, false}, pool);
  if (ids.size() < 2)
    throw Error(fmt::format("{} holds nothing to predict", text_file), "give a longer text");
  if (const int32_t top = *std::max_element(ids.begin(), ids.end()); top >= config.vocab_size)
    throw Error(fmt::format("{}: the tokenizer gives id {}, but vocab_size is {}",
                            tokenizer.source(), top, config.vocab_size),
                "use the tokenizer that the model was trained with");
  return {std::move(ids), text.size()};
}

int64_t window_of(const ModelConfig& config, int64_t seq_len) {
  const int64_t limit = config.max_position_embeddings;
  if (seq_len > limit)
    throw UsageError(fmt::format("--seq-len {} is past the model's limit", seq_len),
                     fmt::format("at most {}", limit));
  return seq_len > 0 ? seq_len : std::min<int64_t>(512, limit);
}

WindowLoss plain_loss(Context& ctx, const Transformer& model, const PassOptions& options) {
  return [&ctx, &model, options](std::span<const int32_t> token_T1) {
    const train::TokenWindows window{token_T1.data(), 1, std::ssize(token_T1) - 1, 1};
    return train::objective_forward(ctx, model, window, options).main;
  };
}

double total_loss(const std::vector<int32_t>& ids, int64_t window, const WindowLoss& loss_of) {
  const auto predicted = static_cast<int64_t>(ids.size()) - 1;
  Progress progress("evaluating", static_cast<double>(predicted), "token");
  double loss = 0;
  for (int64_t begin = 0; begin < predicted; begin += window) {
    const int64_t length = std::min(window, predicted - begin);
    loss += loss_of(
        std::span(ids).subspan(static_cast<size_t>(begin), static_cast<size_t>(length + 1)));
    progress.update(static_cast<double>(begin + length));
  }
  return loss;
}

double held_out_loss(Session& session, const StoredModel& stored, const HeldOutText& text,
                     int64_t seq_len, const std::string& precision) {
  const int64_t window = window_of(stored.config, seq_len);
  const Transformer model(stored.config, stored.weights, window);
  const double total =
      total_loss(text.ids, window, plain_loss(session.ctx, model, parse_precision(precision)));
  return total / static_cast<double>(text.ids.size() - 1);
}

}  // namespace fathom::app
