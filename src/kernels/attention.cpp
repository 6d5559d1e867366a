#include "kernels/attention.h"

#include <algorithm>
#include <vector>

#include "kernels/checks.h"
#include "kernels/cpu/attention.h"
#include "kernels/cpu/attention_tile.h"

namespace fathom::kernels {
namespace {

using cpu::AttentionHead;
using cpu::AttentionItem;
using cpu::kQueryTile;
using Offsets = std::span<const int64_t>;

void check_offsets(Offsets offsets, int64_t rows) {
  FATHOM_ASSERT(!offsets.empty() && offsets.front() == 0 && offsets.back() == rows);
  FATHOM_ASSERT(std::is_sorted(offsets.begin(), offsets.end()));
}

void check_inputs(const char* kernel, const Context& ctx, const cpu::AttentionInputs& in,
                  Offsets query_offsets, Offsets key_offsets) {
  const MlaShape& s = in.shape;
  FATHOM_ASSERT(s.scale > 0);
  const int64_t T = in.q_TX.rows(), S = in.kv_SX.rows();
  check_same_device(kernel, ctx, {in.q_TX, in.kv_SX, in.k_rope_SR});
  check_dtype(kernel, "q_TX", in.q_TX, {DType::kF32, DType::kBF16});
  check_dtype(kernel, "kv_SX", in.kv_SX, {in.q_TX.dtype});
  check_dtype(kernel, "k_rope_SR", in.k_rope_SR, {in.q_TX.dtype});
  check_shape(kernel, "q_TX", in.q_TX, {T, s.heads * (s.nope_dim + s.rope_dim)});
  check_shape(kernel, "kv_SX", in.kv_SX, {S, s.heads * (s.nope_dim + s.v_dim)});
  check_shape(kernel, "k_rope_SR", in.k_rope_SR, {S, s.rope_dim});
  check_offsets(query_offsets, T);
  check_offsets(key_offsets, S);
  FATHOM_ASSERT(query_offsets.size() == key_offsets.size());
  for (size_t i = 0; i + 1 < key_offsets.size(); ++i)
    FATHOM_ASSERT(query_offsets[i + 1] - query_offsets[i] <= key_offsets[i + 1] - key_offsets[i]);
}

void check_output(const char* kernel, const char* argument, const Context& ctx,
                  const ConstTensorView& x, DType dtype, int64_t rows, int64_t cols) {
  check_same_device(kernel, ctx, {x});
  check_dtype(kernel, argument, x, {dtype});
  check_shape(kernel, argument, x, {rows, cols});
}

/// Multiply-adds of an item, up to a factor: its queries times the keys they see.
int64_t cost(const AttentionItem& item) {
  return (item.q_end - item.q_begin) *
         (item.q_begin + item.q_end + 2 * (item.shift - item.key_begin));
}

/// Every head and sequence, cut into runs of `queries` queries, largest work first.
std::vector<AttentionItem> make_items(int64_t heads, Offsets query_offsets, Offsets key_offsets,
                                      int64_t queries) {
  std::vector<AttentionItem> items;
  for (size_t s = 0; s + 1 < query_offsets.size(); ++s)
    for (int64_t h = 0; h < heads; ++h)
      for (int64_t q = query_offsets[s], end = query_offsets[s + 1]; q < end; q += queries)
        items.push_back(
            {h, key_offsets[s], q, std::min(q + queries, end), key_offsets[s + 1] - end});
  std::stable_sort(items.begin(), items.end(),
                   [](const auto& a, const auto& b) { return cost(a) > cost(b); });
  return items;
}

/// Large items unless that leaves threads without work; results do not depend on the choice.
std::vector<AttentionItem> forward_items(int64_t heads, Offsets query_offsets, Offsets key_offsets,
                                         int threads) {
  for (int64_t queries = cpu::kQueryBlock;; queries -= kQueryTile) {
    auto items = make_items(heads, query_offsets, key_offsets, queries);
    if (queries == kQueryTile || threads == 1 || std::ssize(items) >= 4 * threads) return items;
  }
}

/// Every head of every sequence, longest first.
std::vector<AttentionHead> backward_heads(int64_t heads, Offsets offsets) {
  std::vector<AttentionHead> list;
  for (size_t s = 0; s + 1 < offsets.size(); ++s)
    for (int64_t h = 0; h < heads; ++h)
      if (offsets[s] < offsets[s + 1])
        list.push_back({h, offsets[s], offsets[s + 1], nullptr, nullptr});
  std::stable_sort(list.begin(), list.end(),
                   [](const auto& a, const auto& b) { return a.end - a.begin > b.end - b.begin; });
  return list;
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

/// Heads whose backward runs at the same time: memory for about this much, but work for all.
constexpr size_t kWaveBytes = size_t{16} << 20;

/// The backward of some heads. Tiles of keys are handed out in the order in which they wait for
/// each other; alone, a thread goes through one head after the other.
void backward_wave(Context& ctx, const cpu::AttentionBackward& args, std::span<AttentionHead> heads,
                   const Scratch& scratch) {
  const ArenaScope scope(ctx.arena);
  struct Task {
    const AttentionHead* head;
    int64_t tile;
  };
  std::vector<Task> tasks;
  std::vector<std::atomic<int64_t>> blocks(heads.size() * heads.front().tiles());
  for (size_t i = 0; i < heads.size(); ++i) {
    AttentionHead& head = heads[i];
    head.blocks = blocks.data() + i * heads.front().tiles();
    head.memory = static_cast<std::byte*>(
        ctx.arena.alloc_bytes(cpu::attention_backward_head_bytes(args.in, head.end - head.begin)));
    for (int64_t tile = 0; tile < head.tiles(); ++tile) tasks.push_back({&head, tile});
  }
  std::stable_sort(tasks.begin(), tasks.end(),
                   [](const Task& a, const Task& b) { return a.tile < b.tile; });
  ctx.pool.for_each(std::ssize(tasks), [&](int64_t i, int thread) {
    cpu::attention_backward(args, *tasks[i].head, tasks[i].tile, scratch.of(thread));
  });
}

void backward(Context& ctx, const cpu::AttentionBackward& args, std::span<AttentionHead> heads) {
  const Scratch scratch(ctx, cpu::attention_backward_scratch(args.in));
  while (!heads.empty()) {
    const AttentionHead& longest = heads.front();
    const size_t bytes = cpu::attention_backward_head_bytes(args.in, longest.end - longest.begin);
    const auto threads = static_cast<size_t>(ctx.pool.size());
    const size_t wave = threads == 1 ? 1 : std::max(threads, kWaveBytes / bytes);
    const size_t count = std::min(wave, heads.size());
    backward_wave(ctx, args, heads.first(count), scratch);
    heads = heads.subspan(count);
  }
}

}  // namespace

void mla_attention_forward(Context& ctx, const MlaShape& shape, ConstTensorView q_TX,
                           ConstTensorView kv_SX, ConstTensorView k_rope_SR,
                           std::span<const int64_t> query_offsets,
                           std::span<const int64_t> key_offsets, TensorView out_TX,
                           TensorView lse_TH, GemmPrecision precision) {
  const char* name = "mla_attention_forward";
  const int64_t T = q_TX.rows();
  const cpu::AttentionForward args{
      {ctx.isa, shape, precision, q_TX, kv_SX, k_rope_SR}, out_TX, lse_TH};
  check_inputs(name, ctx, args.in, query_offsets, key_offsets);
  check_output(name, "out_TX", ctx, out_TX, q_TX.dtype, T, shape.heads * shape.v_dim);
  check_output(name, "lse_TH", ctx, lse_TH, DType::kF32, T, shape.heads);

  const auto items = forward_items(shape.heads, query_offsets, key_offsets, ctx.pool.size());
  const ArenaScope scope(ctx.arena);
  const Scratch scratch(ctx, cpu::attention_forward_scratch(args.in));
  ctx.pool.for_each(std::ssize(items), [&](int64_t i, int thread) {
    cpu::attention_forward(args, items[i], scratch.of(thread));
  });
}

void mla_attention_forward(Context& ctx, const MlaShape& shape, ConstTensorView q_TX,
                           ConstTensorView kv_TX, ConstTensorView k_rope_TR,
                           std::span<const int64_t> sequence_offsets, TensorView out_TX,
                           TensorView lse_TH, GemmPrecision precision) {
  mla_attention_forward(ctx, shape, q_TX, kv_TX, k_rope_TR, sequence_offsets, sequence_offsets,
                        out_TX, lse_TH, precision);
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
  check_inputs(name, ctx, args.in, sequence_offsets, sequence_offsets);
  check_output(name, "out_TX", ctx, out_TX, q_TX.dtype, T, H * shape.v_dim);
  check_output(name, "lse_TH", ctx, lse_TH, DType::kF32, T, H);
  check_output(name, "dout_TX", ctx, dout_TX, q_TX.dtype, T, H * shape.v_dim);
  check_output(name, "dq_TX", ctx, dq_TX, q_TX.dtype, T, q_TX.cols());
  check_output(name, "dkv_TX", ctx, dkv_TX, q_TX.dtype, T, kv_TX.cols());
  check_output(name, "dk_rope_TR", ctx, dk_rope_TR, q_TX.dtype, T, shape.rope_dim);

  auto heads = backward_heads(H, sequence_offsets);
  backward(ctx, args, heads);
  sum_over_heads(ctx, args.dk_rope_THR, H, dk_rope_TR);
}

}  // namespace fathom::kernels
