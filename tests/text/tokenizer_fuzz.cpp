// libFuzzer target. The first byte of the input says what the rest is: a tokenizer.json, or a
// tiktoken.model, whole or as lines after the 256 bytes, which must load or be refused with an
// Error; or text for DeepSeek-V3's pre-tokenizer and a small byte-level
// BPE, which must survive the round trip, whole and cut into pieces.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/error.h"
#include "text/bpe_trainer.h"
#include "text/stream_decoder.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

namespace {

using namespace fathom;

const Tokenizer& small_tokenizer() {
  static const Tokenizer tokenizer = [] {
    ThreadPool pool(1);
    const std::string_view text = "the cat and the dog and the 中文中文 123 123 ... ...\n\n\n\n";
    return Tokenizer::from_json(tokenizer_json(train_bpe({&text, 1}, 275, pool)), "fuzz",
                                tokenizer_config_json());
  }();
  return tokenizer;
}

void require(bool ok) {
  if (!ok) std::abort();
}

void round_trip(const Tokenizer& tokenizer, std::string_view text) {
  require(tokenizer.decode(tokenizer.encode(text)) == text);
  const std::vector<int32_t> ids = tokenizer.encode(text, {true, true});
  StreamDecoder decoder(tokenizer);
  std::string streamed;
  for (int32_t id : ids) streamed += decoder.add(id);
  streamed += decoder.finish();
  require(streamed == replace_invalid_utf8(tokenizer.decode(ids)));
}

void cuts(std::string_view text) {
  static const PreTokenizer v3 = PreTokenizer::deepseek_v3();
  PreTokenizer::Scratch whole, part;
  const std::vector<TextSpan>& expected = v3.split(text, whole);
  size_t next = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = v3.next_cut(text, begin + 1);
    for (const TextSpan& s : v3.split(text.substr(begin, end - begin), part)) {
      require(expected[next++] == TextSpan{begin + s.begin, begin + s.end});
    }
    begin = end;
  }
  require(next == expected.size());
}

template <class Load>
void load(Load&& make) {
  try {
    const Tokenizer tokenizer = make();
    tokenizer.encode("The cat, 123  中文\r\n\xFF <x>", {true, true});
  } catch (const Error&) {
    return;
  }
}

/// "AA== 0" to "/w== 255", each single byte.
std::string single_bytes() {
  constexpr std::string_view digits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string lines;
  for (size_t b = 0; b < 256; ++b) {
    lines += {digits[b >> 2], digits[(b & 3) << 4], '=', '=', ' '};
    lines += std::to_string(b) + "\n";
  }
  return lines;
}

Tokenizer from_tiktoken(std::string_view rest, bool whole) {
  const std::string text = (whole ? "" : single_bytes()) + std::string(rest);
  const auto tokens = std::count(text.begin(), text.end(), '\n');
  return Tokenizer::from_tiktoken(
      text, "fuzz",
      R"({"added_tokens_decoder": {")" + std::to_string(tokens) + R"(": {"content": "<x>"}}})");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (data[0] == '{') {
    const std::string_view json(reinterpret_cast<const char*>(data), size);
    load([&] { return Tokenizer::from_json(json, "fuzz"); });
  } else if (data[0] == 't' || data[0] == 'T') {
    load([&] { return from_tiktoken(rest, data[0] == 'T'); });
  } else {
    round_trip(small_tokenizer(), rest);
    cuts(rest);
  }
  return 0;
}
