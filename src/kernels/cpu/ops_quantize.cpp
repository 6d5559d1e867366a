#include "kernels/cpu/ops_table.h"
#include "kernels/cpu/vec_e4m3.h"

namespace fathom::kernels::cpu::FATHOM_ISA_NS {
namespace {

void decode(const E4M3* codes, float scale, float* y, int64_t n) {
  const VecF factor = decode_factor(scale);
  for_vectors(n, [&](int64_t i, auto part) {
    store(y + i, decode_e4m3(load_bits<VecQ>(codes + i, part), factor), part);
  });
}

void decode_bf16(const E4M3* codes, float scale, BF16* y, int64_t n) {
  const E4M3ToBF16 to = e4m3_to_bf16(scale);
  int64_t i = 0;
  for (; i + kVectorBytes <= n; i += kVectorBytes) {
    const TwoVecW words = decode_words(load_bits<VecB>(codes + i, Full{}), to);
    __builtin_memcpy(y + i, &words, sizeof words);
  }
  for (int64_t count = 0; i < n; i += count) {
    count = n - i < kVectorBytes / 2 ? n - i : kVectorBytes / 2;
    const VecW words = decode_words(load_bits<HalfB>(codes + i, Tail{count}), to);
    __builtin_memcpy(y + i, &words, static_cast<size_t>(count) * sizeof(BF16));
  }
}

void encode(const float* x, E4M3* codes, bool saturate, int64_t n) {
  for_vectors(n, [&](int64_t i, auto part) {
    const VecF v = load(x + i, part);
    const VecQ q = saturate ? encode_e4m3<true>(v) : encode_e4m3<false>(v);
    store_codes(codes + i, q, part);
  });
}

}  // namespace

const QuantizeOps kQuantizeOps = {decode, decode_bf16, encode};

}  // namespace fathom::kernels::cpu::FATHOM_ISA_NS
