#include "kernels/gemm.h"

#include "kernels/checks.h"
#include "kernels/cpu/gemm_operand.h"
#include "kernels/cpu/gemm_swiglu.h"
#include "kernels/cpu/ops_scaled.h"

namespace fathom::kernels {
namespace {

using cpu::check_activation;
using cpu::check_extent;
using cpu::check_weight;
using cpu::GemmOperand;
using cpu::GemmProblem;
using cpu::operand_of;
using cpu::SwigluPair;

void check_output(const char* kernel, const TensorView& c, GemmOptions options) {
  check_dtype(kernel, "c", c, {DType::kF32, DType::kBF16});
  FATHOM_ASSERT(c.rank == 2 && (c.stride[1] == 1 || c.shape[1] <= 1));
  if (options.accumulate) check_dtype(kernel, "c (accumulating)", c, {DType::kF32});
}

void check_offsets(GroupOffsets offsets, size_t groups, int64_t rows) {
  FATHOM_ASSERT(offsets.size() == groups + 1 && offsets.front() >= 0 && offsets.back() <= rows);
  for (size_t g = 0; g < groups; ++g) FATHOM_ASSERT(offsets[g] <= offsets[g + 1]);
}

/// Rows of an output, which may be empty.
template <class View>
View rows_of(const View& view, int64_t begin, int64_t rows) {
  return view ? view.row_range(begin, rows) : view;
}

GemmProblem problem(const GemmOperand& a, const GemmOperand& b, const TensorView& c, int64_t k) {
  return {c.rows(), c.cols(), k, a, b, c.data, c.dtype, c.stride[0]};
}

// The three layouts differ in what the shapes must be and in which dimension is contiguous.
GemmProblem nt_problem(const char* kernel, const GemmInput& a_MK, const GemmInput& b_NK,
                       const TensorView& c_MN) {
  check_extent(kernel, "b", b_NK, c_MN.cols(), a_MK.cols());
  check_shape(kernel, "c", c_MN, {a_MK.rows(), b_NK.rows()});
  return problem(operand_of(a_MK, true), operand_of(b_NK, true), c_MN, a_MK.cols());
}

GemmProblem nn_problem(const char* kernel, const GemmInput& a_MK, const GemmInput& b_KN,
                       const TensorView& c_MN) {
  check_extent(kernel, "b", b_KN, a_MK.cols(), c_MN.cols());
  check_shape(kernel, "c", c_MN, {a_MK.rows(), b_KN.cols()});
  return problem(operand_of(a_MK, true), operand_of(b_KN, false), c_MN, a_MK.cols());
}

GemmProblem tn_problem(const char* kernel, const GemmInput& a_KM, const GemmInput& b_KN,
                       const TensorView& c_MN) {
  check_extent(kernel, "b", b_KN, a_KM.rows(), c_MN.cols());
  check_shape(kernel, "c", c_MN, {a_KM.cols(), b_KN.cols()});
  return problem(operand_of(a_KM, false), operand_of(b_KN, false), c_MN, a_KM.rows());
}

void run(Context& ctx, std::span<const GemmProblem> problems, GemmOptions options) {
  cpu::run_gemms(ctx, cpu::gemm_kernels(ctx.isa, options.precision), problems, options.accumulate);
}

using MakeProblem = GemmProblem (*)(const char*, const GemmInput&, const GemmInput&,
                                    const TensorView&);

void gemm(const char* kernel, MakeProblem make, Context& ctx, const GemmInput& a,
          const GemmInput& b, const TensorView& c, GemmOptions options) {
  check_same_device(kernel, ctx, {a.values, b.values, c});
  check_activation(kernel, "a", a);
  check_weight(kernel, "b", b);
  check_output(kernel, c, options);
  const GemmProblem p = make(kernel, a, b, c);
  run(ctx, {&p, 1}, options);
}

// Groups that own rows of A and C and a matrix B each.
void gemm_by_rows(const char* kernel, MakeProblem make, Context& ctx, const GemmInput& a,
                  std::span<const GemmInput> b, const TensorView& c, GroupOffsets offsets,
                  GemmOptions options) {
  check_same_device(kernel, ctx, {a.values, c});
  check_activation(kernel, "a", a);
  check_output(kernel, c, options);
  check_offsets(offsets, b.size(), a.rows());
  ArenaScope scope(ctx.arena);
  auto* problems = ctx.arena.alloc_array<GemmProblem>(static_cast<int64_t>(b.size()));
  size_t count = 0;
  for (size_t g = 0; g < b.size(); ++g) {
    const int64_t begin = offsets[g], rows = offsets[g + 1] - begin;
    if (rows == 0) continue;
    check_same_device(kernel, ctx, {b[g].values});
    check_weight(kernel, "b", b[g]);
    problems[count++] = make(kernel, a.row_range(begin, rows), b[g], c.row_range(begin, rows));
  }
  run(ctx, {problems, count}, options);
}

void check_swiglu_output(const char* kernel, Context& ctx, const GemmInput& a, int64_t n,
                         const SwigluOutput& out) {
  check_same_device(kernel, ctx,
                    {out.act_MN, out.act_quantized.view.codes, out.gate_up_MN2, out.weight_M});
  FATHOM_ASSERT(a.cols() > 0 && (out.act_MN || out.act_quantized));
  if (out.act_MN) check_shape(kernel, "act", out.act_MN, {a.rows(), n});
  if (out.gate_up_MN2) check_output(kernel, out.gate_up_MN2, {});
  if (out.gate_up_MN2) check_shape(kernel, "gate_up", out.gate_up_MN2, {a.rows(), 2 * n});
  if (out.weight_M) check_shape(kernel, "weight", out.weight_M, {a.rows()});
}

/// The outputs of rows [begin, begin + rows).
SwigluPair swiglu_pair(const char* kernel, const GemmInput& up, const SwigluOutput& out,
                       int64_t begin, int64_t rows) {
  SwigluPair pair;
  pair.up = operand_of(up, true);
  if (out.act_MN) pair.act = cpu::mutable_rows_of(kernel, "act", rows_of(out.act_MN, begin, rows));
  if (out.act_quantized)
    pair.quantized = cpu::at(
        cpu::quantized_rows_of(kernel, out.act_quantized, out.act_quantized.view.rows(), up.rows()),
        begin);
  if (out.weight_M) pair.weight = out.weight_M.as<float>() + begin;
  return pair;
}

GemmProblem swiglu_problem(const char* kernel, const GemmInput& a, const GemmInput& gate,
                           const GemmInput& up, const TensorView& gate_up, const SwigluPair& pair) {
  check_extent(kernel, "gate", gate, gate.rows(), a.cols());
  check_extent(kernel, "up", up, gate.rows(), a.cols());
  GemmProblem p;
  p.m = a.rows();
  p.n = gate.rows();
  p.k = a.cols();
  p.a = operand_of(a, true);
  p.b = operand_of(gate, true);
  p.swiglu = &pair;
  if (!gate_up) return p;
  p.c = gate_up.data;
  p.c_dtype = gate_up.dtype;
  p.c_stride = gate_up.stride[0];
  return p;
}

void gemm_swiglu(const char* kernel, Context& ctx, const GemmInput& a,
                 std::span<const GemmInput> gate, std::span<const GemmInput> up,
                 const SwigluOutput& out, GroupOffsets offsets, GemmPrecision precision) {
  FATHOM_ASSERT(gate.size() == up.size());
  check_same_device(kernel, ctx, {a.values});
  check_activation(kernel, "a", a);
  check_offsets(offsets, gate.size(), a.rows());
  if (gate.empty()) return;
  check_swiglu_output(kernel, ctx, a, gate[0].rows(), out);
  ArenaScope scope(ctx.arena);
  auto* problems = ctx.arena.alloc_array<GemmProblem>(static_cast<int64_t>(gate.size()));
  auto* pairs = ctx.arena.alloc_array<SwigluPair>(static_cast<int64_t>(gate.size()));
  size_t count = 0;
  for (size_t g = 0; g < gate.size(); ++g) {
    const int64_t begin = offsets[g], rows = offsets[g + 1] - begin;
    if (rows == 0) continue;
    check_same_device(kernel, ctx, {gate[g].values, up[g].values});
    check_weight(kernel, "gate", gate[g]);
    check_weight(kernel, "up", up[g]);
    pairs[count] = swiglu_pair(kernel, up[g], out, begin, rows);
    problems[count] = swiglu_problem(kernel, a.row_range(begin, rows), gate[g], up[g],
                                     rows_of(out.gate_up_MN2, begin, rows), pairs[count]);
    ++count;
  }
  run(ctx, {problems, count}, {precision, false});
}

}  // namespace

void gemm_nt(Context& ctx, const GemmInput& a, const GemmInput& b, TensorView c,
             GemmOptions options) {
  gemm("gemm_nt", nt_problem, ctx, a, b, c, options);
}

void gemm_nn(Context& ctx, const GemmInput& a, const GemmInput& b, TensorView c,
             GemmOptions options) {
  gemm("gemm_nn", nn_problem, ctx, a, b, c, options);
}

void gemm_tn(Context& ctx, const GemmInput& a, const GemmInput& b, TensorView c,
             GemmOptions options) {
  gemm("gemm_tn", tn_problem, ctx, a, b, c, options);
}

void grouped_gemm_nt(Context& ctx, const GemmInput& a, std::span<const GemmInput> b, TensorView c,
                     GroupOffsets offsets, GemmOptions options) {
  gemm_by_rows("grouped_gemm_nt", nt_problem, ctx, a, b, c, offsets, options);
}

void batch_gemm_nt(Context& ctx, std::span<const GemmNT> products, GemmOptions options) {
  constexpr const char* kKernel = "batch_gemm_nt";
  ArenaScope scope(ctx.arena);
  auto* problems = ctx.arena.alloc_array<GemmProblem>(static_cast<int64_t>(products.size()));
  for (size_t i = 0; i < products.size(); ++i) {
    const auto& [a, b, c] = products[i];
    check_same_device(kKernel, ctx, {a.values, b.values, c});
    check_activation(kKernel, "a", a);
    check_weight(kKernel, "b", b);
    check_output(kKernel, c, options);
    problems[i] = nt_problem(kKernel, a, b, c);
  }
  run(ctx, {problems, products.size()}, options);
}

void masked_gemm_nt(Context& ctx, const GemmInput& a, std::span<const GemmInput> b, TensorView c,
                    std::span<const int64_t> counts, GemmOptions options) {
  FATHOM_ASSERT(counts.size() == b.size());
  if (b.empty()) return;
  const int64_t groups = std::ssize(b), room = a.rows() / groups;
  FATHOM_ASSERT(room * groups == a.rows() && c.rows() == a.rows());
  ArenaScope scope(ctx.arena);
  auto* products = ctx.arena.alloc_array<GemmNT>(groups);
  size_t present = 0;
  for (int64_t g = 0; g < groups; ++g) {
    const auto count = counts[static_cast<size_t>(g)];
    FATHOM_ASSERT(count >= 0 && count <= room);
    if (count > 0)
      products[present++] = {a.row_range(g * room, count), b[static_cast<size_t>(g)],
                             c.row_range(g * room, count)};
  }
  batch_gemm_nt(ctx, {products, present}, options);
}

void grouped_gemm_nn(Context& ctx, const GemmInput& a, std::span<const GemmInput> b, TensorView c,
                     GroupOffsets offsets, GemmOptions options) {
  gemm_by_rows("grouped_gemm_nn", nn_problem, ctx, a, b, c, offsets, options);
}

void grouped_gemm_tn(Context& ctx, const GemmInput& a, const GemmInput& b,
                     std::span<const TensorView> c, GroupOffsets offsets, GemmOptions options) {
  constexpr const char* kKernel = "grouped_gemm_tn";
  check_same_device(kKernel, ctx, {a.values, b.values});
  check_activation(kKernel, "a", a);
  check_weight(kKernel, "b", b);
  check_offsets(offsets, c.size(), a.rows());
  ArenaScope scope(ctx.arena);
  auto* problems = ctx.arena.alloc_array<GemmProblem>(static_cast<int64_t>(c.size()));
  for (size_t g = 0; g < c.size(); ++g) {
    const int64_t begin = offsets[g], rows = offsets[g + 1] - begin;
    check_same_device(kKernel, ctx, {c[g]});
    check_output(kKernel, c[g], options);
    problems[g] = tn_problem(kKernel, a.row_range(begin, rows), b.row_range(begin, rows), c[g]);
  }
  run(ctx, {problems, c.size()}, options);
}

void gemm_nt_swiglu(Context& ctx, const GemmInput& a, const GemmInput& gate, const GemmInput& up,
                    const SwigluOutput& out, GemmPrecision precision) {
  const int64_t offsets[] = {0, a.rows()};
  gemm_swiglu("gemm_nt_swiglu", ctx, a, {&gate, 1}, {&up, 1}, out, offsets, precision);
}

void grouped_gemm_nt_swiglu(Context& ctx, const GemmInput& a, std::span<const GemmInput> gate,
                            std::span<const GemmInput> up, const SwigluOutput& out,
                            GroupOffsets offsets, GemmPrecision precision) {
  gemm_swiglu("grouped_gemm_nt_swiglu", ctx, a, gate, up, out, offsets, precision);
}

}  // namespace fathom::kernels
