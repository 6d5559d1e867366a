#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/cpu.h"
#include "base/tensor.h"
#include "kernels/attention.h"

namespace fathom::kernels::cpu {

/// Queries and keys are processed in tiles of this many tokens, counted from the start of their
/// sequence: what a token's result depends on, whichever work item computes it.
inline constexpr int64_t kAttentionTile = 64;
/// Cache rows a partial result of the absorbed decode covers; fixed for the same reason.
inline constexpr int64_t kDecodeChunk = 256;
/// Heads that are multiplied together in the absorbed decode.
inline constexpr int64_t kDecodeHeads = 16;

struct AttentionTensors {
  MlaShape shape;
  GemmPrecision precision;
  ConstTensorView q_TX, kv_TX, k_rope_TR;
};

struct ForwardArgs {
  AttentionTensors in;
  TensorView out_TX, lse_TH;
};

struct BackwardArgs {
  AttentionTensors in;
  ConstTensorView out_TX, lse_TH, dout_TX;
  TensorView dq_TX, dkv_TX;
  float* dk_rope_THR;  ///< each head's own share of dk_rope
};

/// Work of one head in one sequence: tokens [begin, end) of which queries [q_begin, q_end) are
/// asked for. q_begin − begin is a multiple of kAttentionTile.
struct AttentionItem {
  int64_t head, begin, end, q_begin, q_end;
};

struct DecodeArgs {
  ConstTensorView q_latent_THC, q_rope_THR, cache_SX;
  std::span<const int32_t> position_T;
  float scale;
};

/// The softmax state of one (token, head) over some cache rows: Σ e^(s−highest) and Σ
/// e^(s−highest) c.
struct DecodePartial {
  float* highest;  ///< [T, H]
  float* sum;      ///< [T, H]
  float* acc_THC;  ///< [T, H, C]
};

/// Cache rows [begin, begin + kDecodeChunk) for tokens [t_begin, t_end) and heads [h_begin,
/// h_end), h_begin a multiple of kDecodeHeads.
struct DecodeItem {
  int64_t begin, t_begin, t_end, h_begin, h_end;
};

/// One instruction set's kernels: single-threaded work items, each over scratch memory of the size
/// that its *_scratch states.
struct AttentionKernels {
  size_t (*forward_scratch)(const AttentionTensors&, int64_t queries);
  void (*forward)(const ForwardArgs&, const AttentionItem&, std::byte* scratch);
  size_t (*backward_scratch)(const AttentionTensors&, int64_t tokens);
  void (*backward)(const BackwardArgs&, const AttentionItem&, std::byte* scratch);
  size_t (*decode_scratch)(const DecodeArgs&);
  void (*decode)(const DecodeArgs&, const DecodeItem&, const DecodePartial&, std::byte* scratch);
};

const AttentionKernels& attention_kernels(Isa isa);

}  // namespace fathom::kernels::cpu
