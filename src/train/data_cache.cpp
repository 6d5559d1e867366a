#include "train/data_cache.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/log.h"
#include "train/data_cache_format.h"
#include "train/data_cache_writer.h"

namespace fathom::train {
namespace {
using Json = nlohmann::json;

/// All that decides which tokens come out, but for the text itself.
Json settings_json(const StreamRecipe& recipe, const TextEncoder& encoder) {
  Json json = {{"tokenizer", encoder.fingerprint},
               {"vocab_size", encoder.vocab_size},
               {"bos", encoder.bos},
               {"eos", encoder.eos},
               {"part", static_cast<int>(recipe.part)},
               {"valid_fraction", recipe.valid_fraction},
               {"fim_rate", recipe.fim_rate}};
  if (recipe.fim_rate > 0) {
    json["fim"] = {encoder.fim->begin, encoder.fim->hole, encoder.fim->end};
    json["seed"] = recipe.seed;
  }
  return json;
}

Json files_json(std::span<const SourceFile> files) {
  Json list = Json::array();
  for (const SourceFile& file : files)
    list.push_back({{"path", file.path.string()},
                    {"size", file.size},
                    {"mtime", file.mtime},
                    {"hash", file.hash}});
  return list;
}

bool same_content(const SourceFile& file, const Json& entry) {
  if (entry.at("path") != file.path.string() || entry.at("size") != file.size) return false;
  if (entry.at("mtime") == file.mtime) return true;
  const MappedFile mapped(file.path);
  return entry.at("hash") == XXH3_64bits(mapped.data(), mapped.size());
}

bool same_files(std::span<const SourceFile> files, const Json& list) {
  if (list.size() != files.size()) return false;
  for (size_t i = 0; i < files.size(); ++i)
    if (!same_content(files[i], list[i])) return false;
  return true;
}

/// Nothing unless the file is whole: sizes that add up and an intact index.
std::optional<CacheFooter> read_footer(const MappedFile& file) {
  CacheFooter footer;
  if (file.size() < kCacheMagic.size() + sizeof footer) return std::nullopt;
  const size_t end = file.size() - sizeof footer;
  std::memcpy(&footer, file.data() + end, sizeof footer);
  const uint64_t limit = file.size();  // keeps the sums below from overflowing
  if (std::string_view(footer.magic, sizeof footer.magic) != kCacheMagic ||
      !file.text().starts_with(kCacheMagic) || footer.tokens > limit || footer.documents > limit ||
      footer.manifest_bytes > limit || (footer.width != 2 && footer.width != 4) ||
      footer.manifest_at() + footer.manifest_bytes != end)
    return std::nullopt;
  const size_t index = footer.offsets_at();
  if (footer.hash != XXH3_64bits(file.data() + index, end - index)) return std::nullopt;
  return footer;
}

template <class T>
int32_t widen(const std::byte* from, int64_t count, int32_t* out) {
  const T* ids = reinterpret_cast<const T*>(from);
  uint32_t largest = 0;
  for (int64_t i = 0; i < count; ++i) {
    largest = std::max<uint32_t>(largest, ids[i]);
    out[i] = static_cast<int32_t>(ids[i]);
  }
  return static_cast<int32_t>(std::min<uint32_t>(largest, INT32_MAX));
}

}  // namespace

int64_t TokenCache::document_begin(int64_t document) const {
  FATHOM_ASSERT(document >= 0 && document <= documents_);
  int64_t begin = 0;
  std::memcpy(&begin, file_.data() + offsets_at_ + static_cast<size_t>(document) * sizeof begin,
              sizeof begin);
  return begin;
}

void TokenCache::copy(int64_t begin, int64_t count, int32_t* out) const {
  FATHOM_ASSERT(begin >= 0 && count >= 0 && begin + count <= tokens_);
  const std::byte* from = file_.data() + kCacheMagic.size() + static_cast<size_t>(begin) * width_;
  const int32_t largest =
      width_ == 2 ? widen<uint16_t>(from, count, out) : widen<uint32_t>(from, count, out);
  if (largest >= vocab_size_)
    throw Error(fmt::format("{} is damaged: token id {} with a vocabulary of {}", path().string(),
                            largest, vocab_size_),
                "delete it: it is made again from the text");
}

std::optional<TokenCache> TokenCache::open(const std::filesystem::path& path,
                                           const StreamRecipe& recipe, const TextEncoder& encoder) {
  if (!std::filesystem::exists(path)) return std::nullopt;
  TokenCache cache;
  cache.file_ = MappedFile(path);
  const std::optional<CacheFooter> footer = read_footer(cache.file_);
  if (!footer) return std::nullopt;
  const Json manifest = Json::parse(
      cache.file_.text().substr(footer->manifest_at(), footer->manifest_bytes), nullptr, false);
  if (manifest.is_discarded() || manifest.at("settings") != settings_json(recipe, encoder) ||
      !same_files(recipe.files, manifest.at("files")))
    return std::nullopt;
  cache.tokens_ = static_cast<int64_t>(footer->tokens);
  cache.documents_ = static_cast<int64_t>(footer->documents);
  cache.text_bytes_ = manifest.at("text_bytes");
  cache.vocab_size_ = encoder.vocab_size;
  cache.width_ = footer->width;
  cache.offsets_at_ = footer->offsets_at();
  return cache;
}

TokenCache TokenCache::open_or_build(const std::filesystem::path& path, const StreamRecipe& recipe,
                                     const TextEncoder& encoder, ThreadPool& pool) {
  if (auto cache = open(path, recipe, encoder)) return std::move(*cache);
  if (std::filesystem::exists(path))
    log_info("cached tokens are stale or damaged: tokenising again", {{"cache", path.string()}});
  const DocumentSet set = scan_documents(recipe.files);
  TokenCacheWriter writer(path, encoder);
  writer.add_documents(set, recipe, pool);
  const Json manifest = {{"settings", settings_json(recipe, encoder)},
                         {"files", files_json(set.files)},
                         {"text_bytes", writer.text_bytes()}};
  writer.commit(manifest.dump());
  auto cache = open(path, recipe, encoder);
  if (!cache)
    throw Error(fmt::format("training text changed while it was tokenised into {}", path.string()),
                "start again");
  log_info("tokenised",
           {{"cache", path.string()},
            {"documents", fmt::to_string(cache->documents())},
            {"tokens", fmt::to_string(cache->tokens())},
            {"bytes_per_token", fmt::format("{:.2f}", static_cast<double>(cache->text_bytes()) /
                                                          static_cast<double>(cache->tokens()))}});
  return std::move(*cache);
}

}  // namespace fathom::train
