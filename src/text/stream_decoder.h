#pragma once

#include <string>
#include <string_view>

#include "text/tokenizer.h"

namespace fathom {

/// Cuts bytes that arrive in pieces into valid UTF-8: the bytes of an unfinished sequence wait for
/// the next piece; bytes that can no longer become one turn into U+FFFD. All parts together equal
/// replace_invalid_utf8() of all pieces together.
class Utf8Stream {
 public:
  std::string add(std::string_view bytes);
  /// What is left at the end: empty, or U+FFFD for an unfinished sequence.
  std::string finish();

 private:
  std::string pending_;
};

/// Decodes ids as they are generated, through a Utf8Stream: all parts together equal
/// replace_invalid_utf8(tokenizer.decode(ids)).
class StreamDecoder {
 public:
  /// The tokenizer must outlive the decoder.
  explicit StreamDecoder(const Tokenizer& tokenizer, bool skip_special = false)
      : tokenizer_(tokenizer), skip_special_(skip_special) {}

  /// The text that this id completes, possibly empty.
  std::string add(int32_t id);
  std::string finish() { return utf8_.finish(); }

 private:
  const Tokenizer& tokenizer_;
  bool skip_special_;
  Utf8Stream utf8_;
};

}  // namespace fathom
