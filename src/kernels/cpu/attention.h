#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/cpu.h"
#include "base/tensor.h"
#include "kernels/attention.h"

namespace fathom::kernels::cpu {

/// Rows of queries between products, and the unit in which queries are handed to threads. A
/// multiple of every kernel's panel height and segment length, so that packed operands can be
/// entered at multiples of it.
inline constexpr int64_t kQueryTile = 96;
/// Queries for which keys are packed once.
inline constexpr int64_t kQueryBlock = 4 * kQueryTile;
/// Keys multiplied and exponentiated together. Tiles are counted from their sequence's start: a
/// token's result does not depend on how queries are grouped into items.
inline constexpr int64_t kKeyTile = 2 * kQueryTile;

/// Inputs of attention, as in kernels/attention.h.
struct AttentionInputs {
  Isa isa;
  MlaShape shape;
  GemmPrecision precision;
  ConstTensorView q_TX, kv_SX, k_rope_SR;

  int64_t qk_dim() const { return shape.nope_dim + shape.rope_dim; }
  /// What softmax weights are stored as between products.
  DType product_dtype() const {
    return precision == GemmPrecision::kBF16 ? DType::kBF16 : DType::kF32;
  }
};

struct AttentionForward {
  AttentionInputs in;
  TensorView out_TX, lse_TH;
};

struct AttentionBackward {
  AttentionInputs in;
  ConstTensorView out_TX, lse_TH, dout_TX;
  TensorView dq_TX, dkv_TX;
  float* dk_rope_THR;  ///< each head's own share of dk_rope
};

/// Queries [q_begin, q_end) of one head in one sequence, whose keys begin at key_begin. Query q
/// sits at key q + shift.
struct AttentionItem {
  int64_t head, key_begin, q_begin, q_end, shift;
};

/// Bytes of scratch memory (64-byte aligned) for items of at most kQueryBlock queries.
size_t attention_forward_scratch(const AttentionInputs& in);
void attention_forward(const AttentionForward& args, const AttentionItem& item, std::byte* scratch);

/// The backward of one head in one sequence, tokens [begin, end), cut into tiles of kKeyTile keys
/// that threads may take at the same time. Tile i adds to the dq of a block of queries after tile
/// i − 1 has, so that sums do not depend on who computes what: tiles must be begun in their order.
struct AttentionHead {
  int64_t head, begin, end;
  std::byte* memory;             ///< attention_backward_head_bytes, 64-byte aligned
  std::atomic<int64_t>* blocks;  ///< one a tile, zero before: query blocks it has been through

  int64_t tiles() const { return (end - begin + kKeyTile - 1) / kKeyTile; }
};
size_t attention_backward_head_bytes(const AttentionInputs& in, int64_t tokens);
size_t attention_backward_scratch(const AttentionInputs& in);
void attention_backward(const AttentionBackward& args, const AttentionHead& head, int64_t tile,
                        std::byte* scratch);

}  // namespace fathom::kernels::cpu
