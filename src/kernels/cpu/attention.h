#pragma once

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
  ConstTensorView q_TX, kv_TX, k_rope_TR;

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

/// Work of one head in one sequence, on one thread: tokens [begin, end), of which queries [q_begin,
/// q_end). q_begin − begin is a multiple of kQueryTile.
struct AttentionItem {
  int64_t head, begin, end, q_begin, q_end;
};

/// Bytes of scratch memory (64-byte aligned) for items of at most kQueryBlock queries.
size_t attention_forward_scratch(const AttentionInputs& in);
void attention_forward(const AttentionForward& args, const AttentionItem& item, std::byte* scratch);

/// For items of whole sequences of at most `tokens`.
size_t attention_backward_scratch(const AttentionInputs& in, int64_t tokens);
void attention_backward(const AttentionBackward& args, const AttentionItem& item,
                        std::byte* scratch);

}  // namespace fathom::kernels::cpu
