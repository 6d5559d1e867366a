#include "train/data_encoder.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "base/philox.h"
#include "text/tokenizer.h"
#include "train/data_order.h"

namespace fathom::train {
namespace {

std::string file_fingerprint(const std::filesystem::path& source) {
  const auto path = std::filesystem::is_directory(source) ? source / "tokenizer.json" : source;
  const MappedFile file(path);
  return fmt::format("{:016x}", XXH3_64bits(file.data(), file.size()));
}

/// A position of the text, moved back to where a UTF-8 sequence begins.
size_t random_cut(std::string_view text, uint32_t word) {
  size_t cut = static_cast<size_t>((text.size() + 1) * uint64_t{word} >> 32);
  while (cut > 0 && cut < text.size() && (static_cast<uint8_t>(text[cut]) & 0xC0) == 0x80) --cut;
  return cut;
}

}  // namespace

TextEncoder text_encoder(const Tokenizer& tokenizer) {
  TextEncoder encoder;
  encoder.encode = [&tokenizer](std::string_view text) { return tokenizer.encode(text); };
  encoder.vocab_size = tokenizer.vocab_size();
  encoder.bos = tokenizer.bos_id();
  encoder.eos = tokenizer.eos_id();
  encoder.name = tokenizer.source();
  encoder.fingerprint = file_fingerprint(tokenizer.source());
  if (encoder.eos < 0)
    throw Error(fmt::format("{}: no end-of-sequence token, which ends every training document",
                            encoder.name),
                "name it as eos_token in tokenizer_config.json");
  const auto begin = tokenizer.id_of("<｜fim▁begin｜>"), hole = tokenizer.id_of("<｜fim▁hole｜>"),
             end = tokenizer.id_of("<｜fim▁end｜>");
  if (begin && hole && end) encoder.fim = FimTokens{*begin, *hole, *end};
  return encoder;
}

std::vector<int32_t> encode_document(const TextEncoder& encoder, std::string_view text) {
  std::vector<int32_t> ids;
  if (encoder.bos >= 0) ids.push_back(encoder.bos);
  const std::vector<int32_t> body = encoder.encode(text);
  ids.insert(ids.end(), body.begin(), body.end());
  ids.push_back(encoder.eos);
  return ids;
}

std::vector<int32_t> encode_fim_document(const TextEncoder& encoder, std::string_view text,
                                         uint64_t seed, uint64_t document) {
  FATHOM_ASSERT(encoder.fim.has_value());
  const auto words = Philox(seed, stream_of(RandomUse::kFimCut)).block(document);
  const auto [first, second] =
      std::minmax({random_cut(text, words[0]), random_cut(text, words[1])});
  std::vector<int32_t> ids;
  const auto add = [&](int32_t mark, std::string_view part) {
    const std::vector<int32_t> encoded = encoder.encode(part);
    ids.push_back(mark);
    ids.insert(ids.end(), encoded.begin(), encoded.end());
  };
  if (encoder.bos >= 0) ids.push_back(encoder.bos);
  add(encoder.fim->begin, text.substr(0, first));
  add(encoder.fim->hole, text.substr(second));
  add(encoder.fim->end, text.substr(first, second - first));
  ids.push_back(encoder.eos);
  return ids;
}

bool chosen_for_fim(uint64_t seed, uint64_t document, double rate) {
  return Philox(seed, stream_of(RandomUse::kFimChoice)).uniform(document) < rate;
}

}  // namespace fathom::train
