#pragma once

#include <string>

#include "checkpoint/model_io.h"
#include "session.h"

namespace fathom::app {

/// Mean next-token loss, in nats, of a text read in windows of seq_len tokens (0: 512, or the
/// model's limit if that is shorter). tokenizer: a directory that holds one.
double held_out_loss(Session& session, const StoredModel& stored, const std::string& tokenizer,
                     const std::string& text_file, int64_t seq_len, const std::string& precision);

}  // namespace fathom::app
