#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "train/data_encoder.h"
#include "train/data_source.h"

namespace fathom {
class ThreadPool;
}

namespace fathom::train {

/// How a token stream is made from text.
struct StreamRecipe {
  std::vector<SourceFile> files;
  Part part = Part::kAll;
  double valid_fraction = 0;  ///< of Part::kTraining and kHeldOut
  double fim_rate = 0;
  uint64_t seed = 0;  ///< of the FIM choices
};

/// Tokens of documents, one after the other, in a memory-mapped file (data_cache_format.h).
class TokenCache {
 public:
  int64_t tokens() const { return tokens_; }
  int64_t documents() const { return documents_; }
  int64_t document_begin(int64_t document) const;
  int64_t text_bytes() const { return text_bytes_; }
  const std::filesystem::path& path() const { return file_.path(); }

  /// Tokens [begin, begin + count) as int32. Throws Error when one is not below the vocabulary's
  /// size (a damaged file).
  void copy(int64_t begin, int64_t count, int32_t* out) const;

  /// Maps the file if it holds exactly what the recipe and encoder would give; nothing when it is
  /// missing, truncated, damaged or stale. A file of the same size and content with another time
  /// stamp is the same.
  static std::optional<TokenCache> open(const std::filesystem::path& path,
                                        const StreamRecipe& recipe, const TextEncoder& encoder);
  /// Opens it, or tokenises the text (all threads, with a progress bar) and writes it, atomically.
  static TokenCache open_or_build(const std::filesystem::path& path, const StreamRecipe& recipe,
                                  const TextEncoder& encoder, ThreadPool& pool);

 private:
  MappedFile file_;
  int64_t tokens_ = 0, documents_ = 0, text_bytes_ = 0;
  int64_t vocab_size_ = 0;
  size_t width_ = 0, offsets_at_ = 0;
};

}  // namespace fathom::train
