#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace fathom {

struct StringHash {
  using is_transparent = void;
  size_t operator()(std::string_view s) const { return std::hash<std::string_view>()(s); }
};
using TokenIds = std::unordered_map<std::string, int32_t, StringHash, std::equal_to<>>;

/// Which of two possible merges comes first.
enum class MergeOrder : uint8_t {
  kListed,    ///< the one listed first (tokenizer.json)
  kByResult,  ///< the one whose token has the lower id: its rank in a tiktoken file
};

/// The pieces that Bpe::encode has met lately and their tokens, so that a common word is merged
/// once. One entry a slot: a newer piece evicts an older one. One for each thread.
class BpeCache {
 public:
  static constexpr size_t kMaxBytes = 22, kMaxTokens = 10;
  struct Entry {
    uint8_t bytes = 0, tokens = 0;  ///< bytes == 0: free
    char piece[kMaxBytes];
    int32_t ids[kMaxTokens];
  };
  static_assert(sizeof(Entry) == 64, "one cache line");

  /// The slot of a piece of 1 to kMaxBytes bytes; it may hold another piece.
  Entry& slot(std::string_view piece);

 private:
  static constexpr size_t kSlots = size_t{1} << 15;
  std::vector<Entry> entries_;
};

/// The merge rules of a byte-level BPE, and their application.
class Bpe {
 public:
  struct Merge {
    int32_t left, right, result;
  };
  struct Symbol {
    int32_t id;
    int32_t rank;         ///< of merging with the next symbol
    uint32_t prev, next;  ///< neighbours, by index
  };
  struct Scratch {
    BpeCache cache;
    std::vector<Symbol> symbols;
    std::vector<std::pair<int32_t, uint32_t>> heap;
  };

  Bpe() = default;
  /// byte_ids[b]: the token of the single byte b, negative when the vocabulary lacks it (then
  /// encode writes the bytes of U+FFFD in its place). merges: of a pair listed twice the later one
  /// counts, as in Hugging Face tokenizers. whole_pieces: a piece found here is that one token,
  /// whatever the merges say (tiktoken; tokenizer.json's ignore_merges).
  Bpe(std::span<const int32_t, 256> byte_ids, std::span<const Merge> merges,
      MergeOrder order = MergeOrder::kListed, TokenIds whole_pieces = {});

  /// Appends the tokens of one piece: the merge of lowest rank (leftmost of equals) is applied
  /// until none is left.
  void encode(std::string_view piece, Scratch& scratch, std::vector<int32_t>& ids) const;

 private:
  static constexpr int32_t kNone = INT32_MAX;  ///< the rank of a pair without a merge
  struct Rule {
    uint64_t pair = kFree;
    int32_t rank = kNone, result = -1;
  };
  static constexpr uint64_t kFree = UINT64_MAX;

  Rule find(int32_t left, int32_t right) const;
  void merge(std::string_view piece, Scratch& scratch, std::vector<int32_t>& ids) const;
  void load_symbols(std::string_view piece, std::vector<Symbol>& symbols) const;
  void merge_short(std::vector<Symbol>& symbols) const;
  void merge_long(Scratch& scratch) const;

  std::array<int32_t, 256> byte_ids_{};
  TokenIds whole_pieces_;
  std::vector<Rule> rules_;  ///< open addressing, linear probing, a power of two
};

}  // namespace fathom
