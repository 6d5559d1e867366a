#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/model_io.h"
#include "model/transformer.h"
#include "session.h"
#include "text/tokenizer.h"

namespace fathom::app {

struct HeldOutText {
  std::vector<int32_t> ids;
  size_t bytes = 0;
};

/// A text and its tokens. Errors name the file: nothing to predict, or ids that the model does not
/// have. "-" is the standard input.
HeldOutText read_held_out(ThreadPool& pool, const ModelConfig& config, const Tokenizer& tokenizer,
                          const std::string& text_file);

/// Tokens of a window: seq_len, by default 512 or the model's limit if that is shorter. A usage
/// error when it is past the limit.
int64_t window_of(const ModelConfig& config, int64_t seq_len);

/// The sum over a window's tokens of the loss of the token after each, in nats.
using WindowLoss = std::function<double(std::span<const int32_t> token_T1)>;
WindowLoss plain_loss(Context& ctx, const Transformer& model, const PassOptions& options);

/// The sum over consecutive windows, each predicting the token after every one of its own; the last
/// may be shorter.
double total_loss(const std::vector<int32_t>& ids, int64_t window, const WindowLoss& loss_of);

/// Mean next-token loss of a stored model on a text.
double held_out_loss(Session& session, const StoredModel& stored, const HeldOutText& text,
                     int64_t seq_len, const std::string& precision);

}  // namespace fathom::app
