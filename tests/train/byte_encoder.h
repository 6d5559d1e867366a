#pragma once

#include <string>

#include "train/data_encoder.h"

namespace fathom::train {

/// Bytes as ids 0-255, then bos, eos and the fill-in-the-middle marks: text can be read back.
inline constexpr int32_t kBos = 256, kEos = 257, kFimBegin = 258, kFimHole = 259, kFimEnd = 260;

inline TextEncoder byte_encoder() {
  TextEncoder encoder;
  encoder.encode = [](std::string_view text) {
    std::vector<int32_t> ids;
    for (const char c : text) ids.push_back(static_cast<uint8_t>(c));
    return ids;
  };
  encoder.vocab_size = 261;
  encoder.bos = kBos;
  encoder.eos = kEos;
  encoder.fim = FimTokens{kFimBegin, kFimHole, kFimEnd};
  encoder.name = "bytes";
  encoder.fingerprint = "bytes";
  return encoder;
}

inline std::string text_of(const std::vector<int32_t>& ids) {
  std::string text;
  for (const int32_t id : ids) text += id < 256 ? static_cast<char>(id) : "^$BHE"[id - 256];
  return text;
}

}  // namespace fathom::train
