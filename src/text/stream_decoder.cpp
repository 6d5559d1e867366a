#include "text/stream_decoder.h"

#include "text/unicode.h"

namespace fathom {

std::string Utf8Stream::add(std::string_view bytes) {
  pending_ += bytes;
  const size_t ready = pending_.size() - incomplete_suffix(pending_);
  const std::string text = replace_invalid_utf8(std::string_view(pending_).substr(0, ready));
  pending_.erase(0, ready);
  return text;
}

std::string Utf8Stream::finish() {
  const std::string text = replace_invalid_utf8(pending_);
  pending_.clear();
  return text;
}

std::string StreamDecoder::add(int32_t id) {
  if (skip_special_ && tokenizer_.is_special(id)) return {};
  return utf8_.add(tokenizer_.token_bytes(id));
}

}  // namespace fathom
