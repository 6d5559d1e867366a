#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "train/data_cache.h"

namespace fathom::train {

/// Tokenises documents into a token cache file (data_cache_format.h).
class TokenCacheWriter {
 public:
  TokenCacheWriter(const std::filesystem::path& path, const TextEncoder& encoder);

  /// Encodes the recipe's part of the documents with all threads, in chunks, and appends them in
  /// order. Throws the Error of the first document that has one.
  void add_documents(const DocumentSet& set, const StreamRecipe& recipe, ThreadPool& pool);
  void commit(std::string_view manifest);

  uint64_t text_bytes() const { return text_bytes_; }

 private:
  struct Chunk;
  void encode(const Chunk& chunk, ThreadPool& pool);
  void append(const std::vector<int32_t>& ids);

  const TextEncoder& encoder_;
  AtomicFile file_;
  std::vector<uint64_t> offsets_ = {0};
  uint64_t text_bytes_ = 0;
  uint64_t width_;
};

}  // namespace fathom::train
