#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/thread_pool.h"

namespace fathom {

/// DeepSeek-V3's special tokens: the first three have the ids 0 to 2, the others the last ids.
inline constexpr std::string_view kBosToken = "<｜begin▁of▁sentence｜>";
inline constexpr std::string_view kEosToken = "<｜end▁of▁sentence｜>";
inline constexpr std::string_view kPadToken = "<｜▁pad▁｜>";
inline constexpr std::string_view kFimHoleToken = "<｜fim▁hole｜>";
inline constexpr std::string_view kFimBeginToken = "<｜fim▁begin｜>";
inline constexpr std::string_view kFimEndToken = "<｜fim▁end｜>";
inline constexpr std::string_view kUserToken = "<｜User｜>";
inline constexpr std::string_view kAssistantToken = "<｜Assistant｜>";

/// The smallest vocabulary: 256 bytes and 8 special tokens.
inline constexpr int32_t kMinVocabSize = 264;

/// A byte-level BPE in DeepSeek-V3's layout: ids 0 to 2 begin of sentence, end of sentence and
/// padding; 256 bytes; the learned tokens; fim hole, begin and end, User, Assistant.
struct TrainedBpe {
  std::vector<std::string> tokens;  ///< the bytes of each learned token, in the order of the ids
  /// By rank: the bytes of the two tokens that merge. Two merges may make the same token.
  std::vector<std::pair<std::string, std::string>> merges;
  int32_t vocab_size() const { return kMinVocabSize + static_cast<int32_t>(tokens.size()); }
};

/// Learns merges from the texts, cut by DeepSeek-V3's patterns: always the pair of neighbouring
/// tokens seen most often (of equals, the one of earlier tokens) becomes a token. Depends on the
/// texts alone, not on the number of threads. Throws Error when vocab_size is below kMinVocabSize,
/// or so large that no pair occurs twice before it is reached (the message says how far the texts
/// go).
TrainedBpe train_bpe(std::span<const std::string_view> texts, int32_t vocab_size, ThreadPool& pool);
/// The same from whole files; an empty file, or one with NUL bytes (not text), is an Error.
TrainedBpe train_bpe_files(std::span<const std::filesystem::path> files, int32_t vocab_size,
                           ThreadPool& pool);

/// tokenizer.json and tokenizer_config.json, as Fathom and Hugging Face read them.
std::string tokenizer_json(const TrainedBpe& bpe);
std::string tokenizer_config_json();
/// Both files, written atomically; the directory is made.
void save_tokenizer(const TrainedBpe& bpe, const std::filesystem::path& directory);

}  // namespace fathom
