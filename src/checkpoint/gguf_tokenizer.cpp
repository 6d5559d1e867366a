#include "checkpoint/gguf_tokenizer.h"

#include <fmt/format.h>

#include "base/error.h"
#include "checkpoint/gguf_file.h"

namespace fathom {
namespace {

constexpr const char* kPrefix = "tokenizer.ggml.";

class Metadata {
 public:
  Metadata(const GgufReader& reader, std::string source)
      : reader_(reader), source_(std::move(source)) {}

  template <class T>
  std::optional<T> find(const std::string& key) const {
    const auto it = reader_.metadata().find(key);
    if (it == reader_.metadata().end()) return std::nullopt;
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
    return array ? gguf_texts(reader_.metadata_file(), *array, where(key))
                 : std::vector<std::string>();
  }
  std::vector<int32_t> numbers(const char* key) const {
    const auto array = of_vocabulary<GgufArray>(key);
    return array ? gguf_numbers(reader_.metadata_file(), *array, where(key))
                 : std::vector<int32_t>();
  }

 private:
  std::string where(const char* key) const {
    return fmt::format("{}: {}{}", source_, kPrefix, key);
  }

  const GgufReader& reader_;
  std::string source_;
};

}  // namespace

std::optional<Tokenizer> gguf_tokenizer(const std::filesystem::path& path) {
  const GgufReader reader = GgufReader::open(path);
  const Metadata in(reader, path.string());
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
  return Tokenizer::from_gguf(v, path.string());
}

}  // namespace fathom
