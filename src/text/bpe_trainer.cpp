#include "text/bpe_trainer.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <queue>
#include <unordered_map>

#include "base/error.h"
#include "base/file.h"
#include "base/progress.h"
#include "text/pre_tokenizer.h"
#include "text/unicode.h"

namespace fathom {
namespace {

using WordCounts = std::unordered_map<std::string_view, int64_t>;

constexpr size_t kTaskBytes = size_t{1} << 18;
constexpr int64_t kMinCount = 2;  ///< a pair seen once teaches nothing

std::vector<std::string_view> cut(const PreTokenizer& pre_tokenizer,
                                  std::span<const std::string_view> texts) {
  std::vector<std::string_view> parts;
  for (std::string_view text : texts) {
    while (text.size() > kTaskBytes) {
      const size_t end = pre_tokenizer.next_cut(text, kTaskBytes);
      parts.push_back(text.substr(0, end));
      text.remove_prefix(end);
    }
    if (!text.empty()) parts.push_back(text);
  }
  return parts;
}

/// Each distinct piece and how often it occurs, in the order of their bytes.
std::vector<std::pair<std::string_view, int64_t>> count_words(
    std::span<const std::string_view> texts, ThreadPool& pool) {
  const PreTokenizer pre_tokenizer = PreTokenizer::deepseek_v3();
  const std::vector<std::string_view> parts = cut(pre_tokenizer, texts);
  std::vector<WordCounts> counts(static_cast<size_t>(pool.size()));
  std::vector<PreTokenizer::Scratch> scratch(counts.size());
  pool.for_each(static_cast<int64_t>(parts.size()), [&](int64_t i, int thread) {
    const auto t = static_cast<size_t>(thread);
    const std::string_view part = parts[static_cast<size_t>(i)];
    for (const TextSpan& s : pre_tokenizer.split(part, scratch[t])) {
      ++counts[t][part.substr(s.begin, s.end - s.begin)];
    }
  });
  for (size_t t = 1; t < counts.size(); ++t) {
    for (const auto& [word, count] : counts[t]) counts[0][word] += count;
  }
  std::vector<std::pair<std::string_view, int64_t>> words(counts[0].begin(), counts[0].end());
  std::sort(words.begin(), words.end());
  return words;
}

/// All distinct words as one list of symbols with links to their neighbours in the word. Each pair
/// of neighbours knows how often it occurs and where, so that a merge touches only its own places.
class MergeLearner {
 public:
  explicit MergeLearner(const std::vector<std::pair<std::string_view, int64_t>>& words) {
    for (int32_t b = 0; b < 256; ++b) name(std::string(1, static_cast<char>(b)));
    for (const auto& [word, count] : words) add_word(word, count);
    for (const auto& [key, pair] : pairs_) push(key, pair.count);
  }

  /// The next merge, or nothing when no pair occurs often enough.
  std::optional<std::pair<std::string, std::string>> learn() {
    while (!heap_.empty()) {
      const Candidate best = heap_.top();
      heap_.pop();
      Pair& pair = pairs_[best.key];
      if (pair.count == best.count) return merge(best.key);
      if (pair.count < best.count) push(best.key, pair.count);
    }
    return std::nullopt;
  }
  /// The bytes of each token by id; the first 256 are the single bytes.
  const std::vector<std::string>& tokens() const { return token_bytes_; }

 private:
  static constexpr uint32_t kNone = UINT32_MAX;
  struct Symbol {
    int32_t id;  ///< -1: merged into the symbol before
    uint32_t prev, next;
    uint32_t word;
  };
  struct Pair {
    int64_t count = 0;
    std::vector<uint32_t> places;  ///< of the left symbol; some may be outdated
  };
  struct Candidate {
    int64_t count;
    uint64_t key;
    bool operator<(const Candidate& o) const {
      return count != o.count ? count < o.count : key > o.key;
    }
  };

  static uint64_t key_of(int32_t left, int32_t right) {
    return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
  }

  /// The id of the token of these bytes, a new one if need be: two merges may make the same token.
  int32_t name(const std::string& bytes) {
    const auto [entry, fresh] = ids_.try_emplace(bytes, static_cast<int32_t>(token_bytes_.size()));
    if (fresh) token_bytes_.push_back(bytes);
    return entry->second;
  }

  void add_word(std::string_view word, int64_t count) {
    const size_t begin = symbols_.size(), end = begin + word.size();
    if (end >= kNone) {
      throw Error("the distinct words of the training text exceed 4 GiB",
                  "train the tokenizer on a sample of the text");
    }
    for (size_t i = begin; i < end; ++i) {
      symbols_.push_back({static_cast<uint8_t>(word[i - begin]),
                          i == begin ? kNone : static_cast<uint32_t>(i - 1),
                          i + 1 == end ? kNone : static_cast<uint32_t>(i + 1),
                          static_cast<uint32_t>(counts_.size())});
    }
    counts_.push_back(count);
    for (size_t i = begin; i + 1 < end; ++i) add_pair(static_cast<uint32_t>(i));
  }

  uint64_t key_at(uint32_t at) const {
    return key_of(symbols_[at].id, symbols_[symbols_[at].next].id);
  }
  /// The pair that begins at a symbol which has a next one.
  uint64_t add_pair(uint32_t at) {
    const uint64_t key = key_at(at);
    Pair& pair = pairs_[key];
    pair.count += counts_[symbols_[at].word];
    pair.places.push_back(at);
    return key;
  }
  void drop_pair(uint32_t at) { pairs_[key_at(at)].count -= counts_[symbols_[at].word]; }

  void push(uint64_t key, int64_t count) {
    if (count >= kMinCount) heap_.push({count, key});
  }

  std::pair<std::string, std::string> merge(uint64_t key) {
    const auto left = static_cast<int32_t>(key >> 32), right = static_cast<int32_t>(key);
    const std::string a = token_bytes_[static_cast<size_t>(left)];
    const std::string b = token_bytes_[static_cast<size_t>(right)];
    const int32_t result = name(a + b);
    std::vector<uint32_t> places = std::move(pairs_[key].places);
    pairs_[key].places.clear();
    std::sort(places.begin(), places.end());  // left to right within a word, as BPE applies merges
    std::vector<uint64_t> grown;
    for (uint32_t at : places) merge_at(at, left, right, result, grown);
    std::sort(grown.begin(), grown.end());
    grown.erase(std::unique(grown.begin(), grown.end()), grown.end());
    for (uint64_t k : grown) push(k, pairs_[k].count);
    return {a, b};
  }

  void merge_at(uint32_t at, int32_t left, int32_t right, int32_t result,
                std::vector<uint64_t>& grown) {
    Symbol& s = symbols_[at];
    if (s.id != left || s.next == kNone || symbols_[s.next].id != right) return;
    Symbol& gone = symbols_[s.next];
    drop_pair(at);
    if (s.prev != kNone) drop_pair(s.prev);
    if (gone.next != kNone) drop_pair(s.next);
    s.id = result;
    s.next = gone.next;
    gone.id = -1;
    if (s.next != kNone) symbols_[s.next].prev = at;
    if (s.prev != kNone) grown.push_back(add_pair(s.prev));
    if (s.next != kNone) grown.push_back(add_pair(at));
  }

  std::vector<Symbol> symbols_;
  std::vector<int64_t> counts_;  ///< by word
  std::unordered_map<uint64_t, Pair> pairs_;
  std::priority_queue<Candidate> heap_;
  std::vector<std::string> token_bytes_;
  std::unordered_map<std::string, int32_t> ids_;
};

[[noreturn]] void too_little_text(int32_t vocab_size, size_t tokens) {
  const size_t reached = tokens + static_cast<size_t>(kMinVocabSize) - 256;
  throw Error(fmt::format("the training text yields a vocabulary of {} tokens, not {}: no pair of "
                          "tokens occurs twice any more",
                          reached, vocab_size),
              fmt::format("ask for --vocab-size {} at most, or give more text", reached));
}

}  // namespace

TrainedBpe train_bpe(std::span<const std::string_view> texts, int32_t vocab_size,
                     ThreadPool& pool) {
  if (vocab_size < kMinVocabSize) {
    throw Error(fmt::format("a vocabulary of {} tokens is too small", vocab_size),
                fmt::format("256 bytes and 8 special tokens need {} at least", kMinVocabSize));
  }
  MergeLearner learner(count_words(texts, pool));
  TrainedBpe bpe;
  const auto wanted = static_cast<size_t>(vocab_size - kMinVocabSize + 256);
  Progress progress("learning merges", static_cast<double>(wanted), "token");
  while (learner.tokens().size() < wanted) {
    auto merge = learner.learn();
    if (!merge) too_little_text(vocab_size, learner.tokens().size());
    bpe.merges.push_back(std::move(*merge));
    progress.update(static_cast<double>(learner.tokens().size()));
  }
  bpe.tokens.assign(learner.tokens().begin() + 256, learner.tokens().end());
  return bpe;
}

TrainedBpe train_bpe_files(std::span<const std::filesystem::path> files, int32_t vocab_size,
                           ThreadPool& pool) {
  std::vector<MappedFile> mapped;
  std::vector<std::string_view> texts;
  for (const std::filesystem::path& path : files) {
    mapped.emplace_back(path);
    const std::string_view text = mapped.back().text();
    if (text.empty()) throw Error(fmt::format("{}: the file is empty", path.string()));
    if (const size_t nul = text.find('\0'); nul != std::string_view::npos) {
      throw Error(fmt::format("{}: a NUL byte at offset {}: not a text file", path.string(), nul),
                  "give UTF-8 text files");
    }
    texts.push_back(text);
  }
  return train_bpe(texts, vocab_size, pool);
}

}  // namespace fathom
