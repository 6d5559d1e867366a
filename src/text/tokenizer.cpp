#include "text/tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <mutex>

#include "base/error.h"
#include "base/file.h"
#include "text/tiktoken_file.h"

namespace fathom {
namespace {

/// Text is encoded in stretches of about this size, so that the lists of pieces stay in cache.
constexpr size_t kChunkBytes = size_t{1} << 16;
/// What a thread takes at a time.
constexpr size_t kMinTaskBytes = size_t{1} << 14, kMaxTaskBytes = size_t{1} << 20;

/// A tokenizer.json is preferred: it says more than a tiktoken.model.
std::filesystem::path find_tokenizer_file(const std::filesystem::path& path) {
  std::filesystem::path file = path;
  if (std::filesystem::is_directory(path)) {
    file = path / "tokenizer.json";
    if (!std::filesystem::exists(file) && std::filesystem::exists(path / "tiktoken.model")) {
      file = path / "tiktoken.model";
    }
  }
  if (!std::filesystem::exists(file)) {
    throw Error(
        fmt::format("{}: no such file", file.string()),
        "give a directory that holds a tokenizer.json or a tiktoken.model, or make one with "
        "fathom tokenizer train");
  }
  return file;
}

}  // namespace

struct Tokenizer::Scratch {
  PreTokenizer::Scratch pieces;
  Bpe::Scratch bpe;
};

/// Working memory, with its caches, lent to one call or thread at a time.
class Tokenizer::ScratchPool {
 public:
  std::unique_ptr<Scratch> take() {
    const std::lock_guard lock(mutex_);
    if (free_.empty()) return std::make_unique<Scratch>();
    std::unique_ptr<Scratch> scratch = std::move(free_.back());
    free_.pop_back();
    return scratch;
  }
  void give(std::unique_ptr<Scratch> scratch) {
    const std::lock_guard lock(mutex_);
    free_.push_back(std::move(scratch));
  }

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<Scratch>> free_;
};

class Tokenizer::Borrowed {
 public:
  explicit Borrowed(ScratchPool& pool) : pool_(pool), scratch_(pool.take()) {}
  ~Borrowed() { pool_.give(std::move(scratch_)); }
  Borrowed(const Borrowed&) = delete;
  Borrowed& operator=(const Borrowed&) = delete;
  Scratch& operator*() const { return *scratch_; }

 private:
  ScratchPool& pool_;
  std::unique_ptr<Scratch> scratch_;
};

void Tokenizer::Deleter::operator()(ScratchPool* pool) const {
  delete pool;
}

Tokenizer Tokenizer::load(const std::filesystem::path& path) {
  const std::filesystem::path file = find_tokenizer_file(path);
  const std::filesystem::path directory = file.parent_path();
  TokenizerConfig config;
  const std::filesystem::path config_file = directory / "tokenizer_config.json";
  if (std::filesystem::exists(config_file)) {
    config = parse_tokenizer_config(read_text_file(config_file), config_file.string());
  }
  const std::filesystem::path template_file = directory / "chat_template.jinja";
  if (std::filesystem::exists(template_file)) config.chat_template = read_text_file(template_file);
  const MappedFile mapped(file);
  if (file.extension() == ".model")
    return {parse_tiktoken_model(mapped.text(), file.string(), config), config, path.string()};
  TokenizerFile parsed = parse_tokenizer_json(mapped.text(), file.string());
  add_listed_tokens(parsed, config.added_tokens);
  return {std::move(parsed), std::move(config), path.string()};
}

Tokenizer Tokenizer::from_json(std::string_view json, const std::string& source,
                               std::string_view config) {
  TokenizerConfig settings;
  if (!config.empty()) settings = parse_tokenizer_config(config, source + " (tokenizer_config)");
  TokenizerFile file = parse_tokenizer_json(json, source);
  add_listed_tokens(file, settings.added_tokens);
  return {std::move(file), std::move(settings), source};
}

Tokenizer Tokenizer::from_tiktoken(std::string_view ranks, const std::string& source,
                                   std::string_view config) {
  TokenizerConfig settings = parse_tokenizer_config(config, source + " (tokenizer_config)");
  TokenizerFile file = parse_tiktoken_model(ranks, source, settings);
  return {std::move(file), std::move(settings), source};
}

Tokenizer Tokenizer::from_gguf(const GgufVocabulary& vocabulary, const std::string& source) {
  return {tokenizer_file_of(vocabulary, source), tokenizer_config_of(vocabulary, source), source};
}

Tokenizer::Tokenizer(TokenizerFile file, TokenizerConfig config, std::string source)
    : file_(std::move(file)),
      config_(std::move(config)),
      source_(std::move(source)),
      pre_tokenizer_(std::move(file_.split_steps)),
      bpe_(make_bpe()),
      matcher_(file_.added_tokens),
      special_(file_.bytes.size()),
      scratch_(new ScratchPool) {
  for (const AddedToken& token : file_.added_tokens) {
    special_[static_cast<size_t>(token.id)] = token.special;
  }
  settle_special_tokens();
}

Bpe Tokenizer::make_bpe() const {
  TokenIds whole;
  if (file_.ignore_merges) {
    std::vector<bool> added(file_.bytes.size());
    for (const AddedToken& token : file_.added_tokens) added[static_cast<size_t>(token.id)] = true;
    whole.reserve(file_.bytes.size());
    for (size_t id = 0; id < file_.bytes.size(); ++id) {
      if (!added[id]) whole.emplace(file_.bytes[id], static_cast<int32_t>(id));
    }
  }
  return Bpe(file_.byte_ids, file_.merges, file_.merge_order, std::move(whole));
}

int32_t Tokenizer::config_id(const char* field, const std::optional<std::string>& token) const {
  if (!token) return -1;
  const std::optional<int32_t> id = id_of(*token);
  if (!id) {
    throw Error(fmt::format("{}: tokenizer_config.json: {} is \"{}\", which the tokenizer lacks",
                            source_, field, *token),
                "the two files must come from the same tokenizer");
  }
  return *id;
}

/// add_bos_token and add_eos_token, where given, overrule the post-processor, as in transformers.
void Tokenizer::settle_special_tokens() {
  bos_id_ = config_id("bos_token", config_.bos_token);
  eos_id_ = config_id("eos_token", config_.eos_token);
  pad_id_ = config_id("pad_token", config_.pad_token);
  const auto settle = [&](const char* flag, std::optional<bool> add, int32_t id, auto& side) {
    if (!add) return;
    if (*add && id < 0) {
      throw Error(fmt::format("{}: tokenizer_config.json: {} is true, but the token is not named",
                              source_, flag),
                  "set bos_token and eos_token there");
    }
    side = *add ? std::vector<int32_t>{id} : std::vector<int32_t>{};
  };
  settle("add_bos_token", config_.add_bos_token, bos_id_, file_.prefix);
  settle("add_eos_token", config_.add_eos_token, eos_id_, file_.suffix);
}

/// About `bytes` past begin, where the text may be cut without changing its tokens.
size_t Tokenizer::chunk_end(std::string_view text, size_t begin, size_t bytes,
                            EncodeOptions options) const {
  if (text.size() - begin <= bytes) return text.size();
  size_t at = pre_tokenizer_.next_cut(text, begin + bytes);
  while (options.parse_special && at < text.size() && !matcher_.may_cut(text, at)) {
    at = pre_tokenizer_.next_cut(text, at + 1);
  }
  return at;
}

void Tokenizer::encode_chunk(std::string_view text, EncodeOptions options, Scratch& scratch,
                             std::vector<int32_t>& ids) const {
  const auto encode_plain = [&](std::string_view plain) {
    for (const TextSpan& piece : pre_tokenizer_.split(plain, scratch.pieces)) {
      bpe_.encode(plain.substr(piece.begin, piece.end - piece.begin), scratch.bpe, ids);
    }
  };
  if (!options.parse_special) return encode_plain(text);
  for (const TextSegment& segment : matcher_.split(text)) {
    if (segment.id >= 0) {
      ids.push_back(segment.id);
    } else {
      encode_plain(segment.text);
    }
  }
}

void Tokenizer::encode_span(std::string_view text, EncodeOptions options, Scratch& scratch,
                            std::vector<int32_t>& ids) const {
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = chunk_end(text, begin, kChunkBytes, options);
    encode_chunk(text.substr(begin, end - begin), options, scratch, ids);
    begin = end;
  }
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, EncodeOptions options) const {
  const Borrowed scratch(*scratch_);
  std::vector<int32_t> ids;
  ids.reserve(text.size() / 4 + 2);
  if (options.add_special_tokens) ids = file_.prefix;
  encode_span(text, options, *scratch, ids);
  if (options.add_special_tokens) {
    ids.insert(ids.end(), file_.suffix.begin(), file_.suffix.end());
  }
  return ids;
}

std::vector<int32_t> Tokenizer::encode_parallel(std::string_view text, EncodeOptions options,
                                                ThreadPool& pool) const {
  return std::move(encode_batch({&text, 1}, options, pool)[0]);
}

std::vector<std::vector<int32_t>> Tokenizer::encode_batch(std::span<const std::string_view> texts,
                                                          EncodeOptions options,
                                                          ThreadPool& pool) const {
  struct Task {
    size_t text;
    std::string_view part;
    std::vector<int32_t> ids = {};
    std::exception_ptr error = {};
  };
  size_t total = 0;
  for (std::string_view text : texts) total += text.size();
  const size_t bytes =
      std::clamp(total / (static_cast<size_t>(pool.size()) * 8), kMinTaskBytes, kMaxTaskBytes);
  std::vector<Task> tasks;
  for (size_t t = 0; t < texts.size(); ++t) {
    for (size_t begin = 0; begin < texts[t].size();) {
      const size_t end = chunk_end(texts[t], begin, bytes, options);
      tasks.push_back({t, texts[t].substr(begin, end - begin)});
      begin = end;
    }
  }
  pool.for_each(static_cast<int64_t>(tasks.size()), [&](int64_t i, int) {
    Task& task = tasks[static_cast<size_t>(i)];
    try {
      const Borrowed scratch(*scratch_);
      task.ids.reserve(task.part.size() / 4);
      encode_span(task.part, options, *scratch, task.ids);
    } catch (...) {
      task.error = std::current_exception();
    }
  });
  std::vector<std::vector<int32_t>> all(texts.size());
  if (options.add_special_tokens) std::fill(all.begin(), all.end(), file_.prefix);
  for (Task& task : tasks) {
    if (task.error) std::rethrow_exception(task.error);
    std::vector<int32_t>& ids = all[task.text];
    if (ids.empty()) {
      ids = std::move(task.ids);
    } else {
      ids.insert(ids.end(), task.ids.begin(), task.ids.end());
    }
  }
  if (options.add_special_tokens) {
    for (auto& ids : all) ids.insert(ids.end(), file_.suffix.begin(), file_.suffix.end());
  }
  return all;
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special) const {
  std::string text;
  for (int32_t id : ids) {
    if (skip_special && is_special(id)) continue;
    text += token_bytes(id);
  }
  return text;
}

std::string_view Tokenizer::token_bytes(int32_t id) const {
  if (id < 0 || id >= vocab_size()) {
    throw Error(fmt::format("token id {} is outside the vocabulary of {} tokens ({})", id,
                            vocab_size(), source_),
                "the ids must come from this tokenizer");
  }
  return file_.bytes[static_cast<size_t>(id)];
}

bool Tokenizer::is_special(int32_t id) const {
  return id >= 0 && id < vocab_size() && special_[static_cast<size_t>(id)];
}

std::optional<int32_t> Tokenizer::id_of(std::string_view token) const {
  const auto found = file_.ids.find(token);
  if (found == file_.ids.end()) return std::nullopt;
  return found->second;
}

int32_t Tokenizer::require_id(std::string_view token) const {
  if (const std::optional<int32_t> id = id_of(token)) return *id;
  throw Error(fmt::format("{}: the tokenizer has no token \"{}\"", source_, token),
              "use a tokenizer with DeepSeek-V3's special tokens, as fathom tokenizer train makes");
}

}  // namespace fathom
