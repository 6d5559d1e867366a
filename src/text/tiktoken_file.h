#pragma once

#include <string>
#include <string_view>

#include "text/tokenizer_file.h"

namespace fathom {

/// Ids after the base tokens that tiktoken.model's tokenizer keeps for special tokens
/// (num_reserved_special_tokens of Moonlight's and Kimi-K2's published tokenizer class).
inline constexpr int32_t kReservedSpecialTokens = 256;

/// The split pattern of Moonlight and Kimi-K2 (pat_str of the same class). The file does not hold
/// it.
extern const std::string_view kKimiPattern;

/// Reads a tiktoken.model: lines of a token in base64 and its rank, which is its id. A piece that
/// is a token is taken whole; otherwise neighbours whose joined bytes are the token of lowest rank
/// are merged first. The special tokens are those of config.added_tokens; reserved ids without a
/// name there are called <|reserved_token_ID|>. Throws Error naming `source`, the line and what to
/// do: ranks must be 0 to n-1, each once, and the 256 bytes among the tokens.
TokenizerFile parse_tiktoken_model(std::string_view text, const std::string& source,
                                   const TokenizerConfig& config);

}  // namespace fathom
