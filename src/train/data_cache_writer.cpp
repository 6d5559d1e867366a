#include "train/data_cache_writer.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <cstring>
#include <exception>
#include <span>

#include "base/error.h"
#include "base/progress.h"
#include "base/thread_pool.h"
#include "train/data_cache_format.h"

namespace fathom::train {
namespace {

/// Text encoded between two writes: enough for all threads, little beside the rest of a run.
constexpr uint64_t kChunkBytes = 8 << 20;

/// Ids of one document, or what went wrong; exceptions must not leave a thread of the pool.
struct Encoded {
  std::vector<int32_t> ids;
  uint64_t text_bytes = 0;
  std::exception_ptr error;
};

}  // namespace

/// Consecutive selected documents and the files that they lie in.
struct TokenCacheWriter::Chunk {
  const DocumentSet& set;
  const StreamRecipe& recipe;
  std::span<const uint64_t> selected;
  uint32_t first_file = 0;
  std::vector<MappedFile> files = {};

  void map_files() {
    first_file = set.documents[selected.front()].file;
    for (uint32_t f = first_file; f <= set.documents[selected.back()].file; ++f) {
      files.emplace_back(set.files[f].path);
      if (files.back().size() != set.files[f].size)
        throw Error(fmt::format("{} changed while it was read", set.files[f].path.string()),
                    "start again");
    }
  }
  Encoded encode(uint64_t index, const TextEncoder& encoder) const {
    const Document& document = set.documents[index];
    const std::string_view raw =
        files[document.file - first_file].text().substr(document.begin, document.size);
    const std::string text = document_text(set.files[document.file], document, raw);
    const bool fim = chosen_for_fim(recipe.seed, index, recipe.fim_rate);
    return {fim ? encode_fim_document(encoder, text, recipe.seed, index)
                : encode_document(encoder, text),
            text.size(), nullptr};
  }
};

TokenCacheWriter::TokenCacheWriter(const std::filesystem::path& path, const TextEncoder& encoder)
    : encoder_(encoder), file_(path), width_(encoder.vocab_size <= 65536 ? 2 : 4) {
  file_.write(kCacheMagic);
}

void TokenCacheWriter::add_documents(const DocumentSet& set, const StreamRecipe& recipe,
                                     ThreadPool& pool) {
  const std::vector<uint64_t> selected = select_documents(set, recipe.part, recipe.valid_fraction);
  uint64_t total = 0, done = 0;
  for (const uint64_t d : selected) total += set.documents[d].size;
  Progress progress("tokenising", static_cast<double>(total), "B");
  for (size_t begin = 0; begin < selected.size();) {
    size_t end = begin;
    uint64_t bytes = 0;
    for (; end < selected.size() && bytes < kChunkBytes; ++end)
      bytes += set.documents[selected[end]].size;
    Chunk chunk{set, recipe, std::span(selected).subspan(begin, end - begin)};
    chunk.map_files();
    encode(chunk, pool);
    progress.update(static_cast<double>(done += bytes));
    begin = end;
  }
}

void TokenCacheWriter::encode(const Chunk& chunk, ThreadPool& pool) {
  std::vector<Encoded> encoded(chunk.selected.size());
  pool.for_each(static_cast<int64_t>(encoded.size()), [&](int64_t i, int) {
    Encoded& out = encoded[static_cast<size_t>(i)];
    try {
      out = chunk.encode(chunk.selected[static_cast<size_t>(i)], encoder_);
    } catch (...) {
      out.error = std::current_exception();
    }
  });
  for (const Encoded& document : encoded) {
    if (document.error) std::rethrow_exception(document.error);
    append(document.ids);
    text_bytes_ += document.text_bytes;
  }
}

void TokenCacheWriter::append(const std::vector<int32_t>& ids) {
  std::string bytes(ids.size() * width_, '\0');
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= encoder_.vocab_size)
      throw Error(fmt::format("{}: token id {} with a vocabulary of {}", encoder_.name, ids[i],
                              encoder_.vocab_size),
                  "the tokenizer's files contradict each other");
    std::memcpy(bytes.data() + i * width_, &ids[i], width_);  // little-endian
  }
  file_.write(bytes);
  offsets_.push_back(offsets_.back() + ids.size());
}

void TokenCacheWriter::commit(std::string_view manifest) {
  CacheFooter footer;
  footer.tokens = offsets_.back();
  footer.documents = offsets_.size() - 1;
  footer.manifest_bytes = manifest.size();
  footer.width = width_;
  std::string index(offsets_.size() * sizeof(uint64_t), '\0');
  std::memcpy(index.data(), offsets_.data(), index.size());
  index += manifest;
  footer.hash = XXH3_64bits(index.data(), index.size());
  file_.write(std::string(footer.offsets_at() - file_.written(), '\0'));
  file_.write(index);
  file_.write(&footer, sizeof footer);
  file_.commit();
}

}  // namespace fathom::train
