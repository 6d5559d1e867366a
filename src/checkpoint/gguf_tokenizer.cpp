#include "checkpoint/gguf_tokenizer.h"

#include <fmt/format.h>

#include "base/error.h"
#include "checkpoint/gguf_file.h"

namespace fathom {
namespace {

constexpr const char* kPrefix = "tokenizer.ggml.";

class Metadata {
 public:
  Metadata(const std::map<std::string, GgufValue>& values, std::span<const std::byte> file,
           const std::string& source)
      : values_(values), file_(file), source_(source) {}

  template <class T>
  std::optional<T> find(const std::string& key) const {
    const auto it = values_.find(key);
    if (it == values_.end()) return std::nullopt;
    if (const T* value = std::get_if<T>(&it->second)) return *value;
    throw Error(fmt::format("{}: {} has a value of another type than it should", source_, key),
                "give the model's own tokenizer.json or tiktoken.model with --tokenizer DIR");
  }
  template <class T>
  std::optional<T> of_vocabulary(const char* key) const {
    return find<T>(std::string(kPrefix) + key);
  }
  std::vector<std::string> texts(const char* key) const {
    const auto array = of_vocabulary<GgufArray>(key);
    return array ? gguf_texts(file_, *array, where(key)) : std::vector<std::string>();
  }
  std::vector<int32_t> numbers(const char* key) const {
    const auto array = of_vocabulary<GgufArray>(key);
    return array ? gguf_numbers(file_, *array, where(key)) : std::vector<int32_t>();
  }

 private:
  std::string where(const char* key) const {
    return fmt::format("{}: {}{}", source_, kPrefix, key);
  }

  const std::map<std::string, GgufValue>& values_;
  std::span<const std::byte> file_;
  const std::string& source_;
};

}  // namespace

std::optional<GgufVocabulary> gguf_vocabulary(const std::map<std::string, GgufValue>& metadata,
                                              std::span<const std::byte> file,
                                              const std::string& source) {
  const Metadata in(metadata, file, source);
  const auto model = in.of_vocabulary<std::string>("model");
  if (!model || *model == "none" || *model == "no_vocab") return std::nullopt;
  GgufVocabulary v;
  v.model = *model;
  v.pre = in.of_vocabulary<std::string>("pre").value_or("");
  v.tokens = in.texts("tokens");
  v.types = in.numbers("token_type");
  v.merges = in.texts("merges");
  v.bos_id = in.of_vocabulary<int64_t>("bos_token_id");
  v.eos_id = in.of_vocabulary<int64_t>("eos_token_id");
  v.pad_id = in.of_vocabulary<int64_t>("padding_token_id");
  v.add_bos = in.of_vocabulary<bool>("add_bos_token");
  v.add_eos = in.of_vocabulary<bool>("add_eos_token");
  v.chat_template = in.find<std::string>("tokenizer.chat_template").value_or("");
  return v;
}

std::optional<GgufVocabulary> gguf_vocabulary(const std::filesystem::path& path) {
  const GgufReader reader = GgufReader::open(path);
  return gguf_vocabulary(reader.metadata(), reader.metadata_file(), path.string());
}

std::optional<Tokenizer> gguf_tokenizer(const std::filesystem::path& path) {
  const auto vocabulary = gguf_vocabulary(path);
  if (!vocabulary) return std::nullopt;
  return Tokenizer::from_gguf(*vocabulary, path.string());
}

}  // namespace fathom
