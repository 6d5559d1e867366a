#include "held_out.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "base/progress.h"
#include "model_argument.h"
#include "text/tokenizer.h"
#include "train/objective.h"

namespace fathom::app {
namespace {

std::vector<int32_t> ids_of(Session& session, const ModelConfig& config,
                            const std::string& directory, const std::string& text_file) {
  const Tokenizer tokenizer = Tokenizer::load(tokenizer_of(directory));
  const std::string text = read_text_file(text_file);
  std::vector<int32_t> ids = tokenizer.encode_parallel(text, {true, false}, session.pool);
  if (ids.size() < 2)
    throw Error(fmt::format("{} holds nothing to predict", text_file), "give a longer text");
  if (const int32_t top = *std::max_element(ids.begin(), ids.end()); top >= config.vocab_size)
    throw Error(fmt::format("{}: the tokenizer gives id {}, but vocab_size is {}", directory, top,
                            config.vocab_size),
                "use the tokenizer that the model was trained with");
  return ids;
}

}  // namespace

double held_out_loss(Session& session, const StoredModel& stored, const std::string& tokenizer,
                     const std::string& text_file, int64_t seq_len, const std::string& precision) {
  const std::vector<int32_t> ids = ids_of(session, stored.config, tokenizer, text_file);
  const int64_t limit = stored.config.max_position_embeddings;
  const int64_t window = std::min(seq_len > 0 ? seq_len : 512, limit);
  const Transformer model(stored.config, stored.weights, window);
  const auto predicted = static_cast<int64_t>(ids.size()) - 1;
  Progress progress("evaluating", static_cast<double>(predicted), "token");
  double loss = 0;
  for (int64_t begin = 0; begin < predicted; begin += window) {
    const int64_t length = std::min(window, predicted - begin);
    const train::TokenWindows part{ids.data() + begin, 1, length, 1};
    loss += train::objective_forward(session.ctx, model, part, parse_precision(precision)).main;
    progress.update(static_cast<double>(begin + length));
  }
  return loss / static_cast<double>(predicted);
}

}  // namespace fathom::app
