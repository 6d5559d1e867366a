#pragma once

#include <cstdint>
#include <string_view>

namespace fathom::train {

// The layout of a token cache, little-endian:
//   magic; the ids, u16 or u32, padded to 8 bytes; where each document begins, u64 [documents + 1];
//   a JSON manifest (settings, source files, tokenizer); the footer.
inline constexpr std::string_view kCacheMagic = "FATHTOK1";

struct CacheFooter {
  uint64_t tokens = 0, documents = 0;
  uint64_t manifest_bytes = 0;
  uint64_t width = 0;  ///< bytes an id
  uint64_t hash = 0;   ///< XXH3 of all between the ids and the footer
  char magic[8] = {'F', 'A', 'T', 'H', 'T', 'O', 'K', '1'};

  uint64_t offsets_at() const { return (kCacheMagic.size() + tokens * width + 7) / 8 * 8; }
  uint64_t manifest_at() const { return offsets_at() + (documents + 1) * sizeof(uint64_t); }
};
static_assert(sizeof(CacheFooter) == 48);

}  // namespace fathom::train
