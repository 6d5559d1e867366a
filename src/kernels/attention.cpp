#include "kernels/attention.h"

#include <algorithm>
#include <vector>

#include "kernels/checks.h"
#include "kernels/cpu/attention.h"
#include "kernels/cpu/attention_tile.h"

namespace fathom::kernels {
namespace {

using cpu::AttentionItem;
using cpu::kQueryTile;

void check_inputs(const char* kernel, const Context& ctx, const cpu::AttentionInputs& in,
                  std::span<const int64_t> offsets) {
  const MlaShape& s = in.shape;
  FATHOM_ASSERT(s.scale > 0);
  const int64_t T = in.q_TX.rows();
  check_same_device(kernel, ctx, {in.q_TX, in.kv_TX, in.k_rope_TR});
  check_dtype(kernel, "q_TX", in.q_TX, {DType::kF32, DType::kBF16});
  check_dtype(kernel, "kv_TX", in.kv_TX, {in.q_TX.dtype});
  check_dtype(kernel, "k_rope_TR", in.k_rope_TR, {in.q_TX.dtype});
  check_shape(kernel, "q_TX", in.q_TX, {T, s.heads * (s.nope_dim + s.rope_dim)});
  check_shape(kernel, "kv_TX", in.kv_TX, {T, s.heads * (s.nope_dim + s.v_dim)});
  check_shape(kernel, "k_rope_TR", in.k_rope_TR, {T, s.rope_dim});
  FATHOM_ASSERT(!offsets.empty() && offsets.front() == 0 && offsets.back() == T);
  FATHOM_ASSERT(std::is_sorted(offsets.begin(), offsets.end()));
}

void check_output(const char* kernel, const char* argument, const Context& ctx,
                  const ConstTensorView& x, DType dtype, int64_t rows, int64_t cols) {
  check_same_device(kernel, ctx, {x});
  check_dtype(kernel, argument, x, {dtype});
  check_shape(kernel, argument, x, {rows, cols});
}

/// Multiply-adds of an item, up to a factor: its queries times the keys they see.
int64_t cost(const AttentionItem& item) {
  return (item.q_end - item.q_begin) * (item.q_begin + item.q_end - 2 * item.begin);
}

/// Every head and sequence, cut into runs of `queries` queries, largest work first.
std::vector<AttentionItem> make_items(int64_t heads, std::span<const int64_t> offsets,
                                      int64_t queries) {
  std::vector<AttentionItem> items;
  for (size_t s = 0; s + 1 < offsets.size(); ++s)
    for (int64_t h = 0; h < heads; ++h)
      for (int64_t q = offsets[s]; q < offsets[s + 1]; q += queries)
        items.push_back({h, offsets[s], offsets[s + 1], q, std::min(q + queries, offsets[s + 1])});
  std::stable_sort(items.begin(), items.end(),
                   [](const auto& a, const auto& b) { return cost(a) > cost(b); });
  return items;
}

/// Large items unless that leaves threads without work; results do not depend on the choice.
std::vector<AttentionItem> forward_items(int64_t heads, std::span<const int64_t> offsets,
                                         int threads) {
  for (int64_t queries = cpu::kQueryBlock;; queries -= kQueryTile) {
    auto items = make_items(heads, offsets, queries);
    if (queries == kQueryTile || threads == 1 || std::ssize(items) >= 4 * threads) return items;
  }
}

int64_t longest_sequence(std::span<const int64_t> offsets) {
  int64_t longest = 0;
  for (size_t s = 0; s + 1 < offsets.size(); ++s)
    longest = std::max(longest, offsets[s + 1] - offsets[s]);
  return longest;
}

/// Scratch memory for each thread, from the arena, 64-byte aligned.
class Scratch {
 public:
  Scratch(Context& ctx, size_t bytes)
      : stride_((bytes + 63) / 64 * 64),
        memory_(static_cast<std::byte*>(
            ctx.arena.alloc_bytes(stride_ * static_cast<size_t>(ctx.pool.size())))) {}
  std::byte* of(int thread) const { return memory_ + stride_ * static_cast<size_t>(thread); }

 private:
  size_t stride_;
  std::byte* memory_;
};

/// dk_rope[t] = Σ_h dk_rope_THR[t][h], in the order of the heads; the sums overwrite head 0.
void sum_over_heads(Context& ctx, float* dk_rope_THR, int64_t heads, const TensorView& dk_rope_TR) {
  const int64_t R = dk_rope_TR.cols();
  const cpu::RowOps& ops = cpu::ops_table(ctx.isa).row;
  ctx.pool.for_range(dk_rope_TR.rows(), 16, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      float* sum = dk_rope_THR + t * heads * R;
      for (int64_t h = 1; h < heads; ++h) ops.add_scaled({sum + h * R, R, false}, 1, sum, R);
      ops.copy({sum, R, false}, cpu::rows_of(dk_rope_TR.row_range(t, 1)), R);
    }
  });
}

}  // namespace

void mla_attention_forward(Context& ctx, const MlaShape& shape, ConstTensorView q_TX,
                           ConstTensorView kv_TX, ConstTensorView k_rope_TR,
                           std::span<const int64_t> sequence_offsets, TensorView out_TX,
                           TensorView lse_TH, GemmPrecision precision) {
  const char* name = "mla_attention_forward";
  const int64_t T = q_TX.rows();
  const cpu::AttentionForward args{
      {ctx.isa, shape, precision, q_TX, kv_TX, k_rope_TR}, out_TX, lse_TH};
  check_inputs(name, ctx, args.in, sequence_offsets);
  check_output(name, "out_TX", ctx, out_TX, q_TX.dtype, T, shape.heads * shape.v_dim);
  check_output(name, "lse_TH", ctx, lse_TH, DType::kF32, T, shape.heads);

  const auto items = forward_items(shape.heads, sequence_offsets, ctx.pool.size());
  const ArenaScope scope(ctx.arena);
  const Scratch scratch(ctx, cpu::attention_forward_scratch(args.in));
  ctx.pool.for_each(std::ssize(items), [&](int64_t i, int thread) {
    cpu::attention_forward(args, items[i], scratch.of(thread));
  });
}

void mla_attention_backward(Context& ctx, const MlaShape& shape, ConstTensorView q_TX,
                            ConstTensorView kv_TX, ConstTensorView k_rope_TR,
                            std::span<const int64_t> sequence_offsets, ConstTensorView out_TX,
                            ConstTensorView lse_TH, ConstTensorView dout_TX, TensorView dq_TX,
                            TensorView dkv_TX, TensorView dk_rope_TR, GemmPrecision precision) {
  const char* name = "mla_attention_backward";
  const int64_t T = q_TX.rows(), H = shape.heads;
  const ArenaScope scope(ctx.arena);
  const cpu::AttentionBackward args{
      {ctx.isa, shape, precision, q_TX, kv_TX, k_rope_TR},  out_TX, lse_TH, dout_TX, dq_TX, dkv_TX,
      ctx.arena.alloc_array<float>(T * H * shape.rope_dim),
  };
  check_inputs(name, ctx, args.in, sequence_offsets);
  check_output(name, "out_TX", ctx, out_TX, q_TX.dtype, T, H * shape.v_dim);
  check_output(name, "lse_TH", ctx, lse_TH, DType::kF32, T, H);
  check_output(name, "dout_TX", ctx, dout_TX, q_TX.dtype, T, H * shape.v_dim);
  check_output(name, "dq_TX", ctx, dq_TX, q_TX.dtype, T, q_TX.cols());
  check_output(name, "dkv_TX", ctx, dkv_TX, q_TX.dtype, T, kv_TX.cols());
  check_output(name, "dk_rope_TR", ctx, dk_rope_TR, q_TX.dtype, T, shape.rope_dim);

  const int64_t longest = longest_sequence(sequence_offsets);
  const auto items = make_items(H, sequence_offsets, std::max<int64_t>(longest, 1));
  const Scratch scratch(ctx, cpu::attention_backward_scratch(args.in, longest));
  ctx.pool.for_each(std::ssize(items), [&](int64_t i, int thread) {
    cpu::attention_backward(args, items[i], scratch.of(thread));
  });
  sum_over_heads(ctx, args.dk_rope_THR, H, dk_rope_TR);
}

}  // namespace fathom::kernels
