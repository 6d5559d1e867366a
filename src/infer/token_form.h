#pragma once

#include <cstdint>

#include "base/context.h"

namespace fathom {

/// How a token is read. What the caches keep of it and its logits have the same bits within a form,
/// whatever else is in the pass and however tokens are cut into passes.
enum class TokenForm : uint8_t {
  /// Weights are streamed, attention is absorbed: what a token costs hardly depends on how many
  /// there are. Generated tokens, drafts, and what a prompt has beyond its last whole block.
  kStreamed,
  /// Packed products, attention over keys and values rebuilt from the latents: whole blocks.
  kPacked,
};

/// Tokens of a block. From about C/3 queries on (171 for the published models), rebuilding the keys
/// and values of all cached tokens costs less than absorbed attention's wider products:
///   2·S·C·(nope+v) + 2·n·S·(nope+rope+v)  against  2·n·S·(2C+rope)  a head, n queries, S tokens.
inline constexpr int64_t kBlockTokens = 256;

/// The tokens of a prompt that are read in packed form are those before this: a function of the
/// prompt alone, so that a sequence's bits do not depend on chunks, on what was found in the cache,
/// nor on other sequences.
inline int64_t packed_end(int64_t prompt_tokens) {
  return prompt_tokens / kBlockTokens * kBlockTokens;
}

inline ProductForm product_form(TokenForm form) {
  return form == TokenForm::kPacked ? ProductForm::kPacked : ProductForm::kStreamed;
}

}  // namespace fathom
