#pragma once

#include <string>

#include "text/tokenizer.h"

namespace fathom {

/// Decodes ids as they are generated: what it returns is always valid UTF-8. The bytes of an
/// unfinished sequence wait for the next token; bytes that can no longer become one turn into
/// U+FFFD. All parts together equal replace_invalid_utf8(tokenizer.decode(ids)).
class StreamDecoder {
 public:
  /// The tokenizer must outlive the decoder.
  explicit StreamDecoder(const Tokenizer& tokenizer, bool skip_special = false)
      : tokenizer_(tokenizer), skip_special_(skip_special) {}

  /// The text that this id completes, possibly empty.
  std::string add(int32_t id);
  /// What is left at the end: empty, or U+FFFD for an unfinished sequence.
  std::string finish();

 private:
  const Tokenizer& tokenizer_;
  bool skip_special_;
  std::string pending_;
};

}  // namespace fathom
