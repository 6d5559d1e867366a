#pragma once

#include "kernels/cpu/vec_e4m3.h"
#include "numerics/f16.h"

// F16 to F32, exactly, whole vectors at a time. For files compiled once per instruction set.

namespace fathom::kernels::cpu::FATHOM_ISA_NS {
namespace {

using VecI = int32_t __attribute__((vector_size(kVectorBytes)));

inline float f16_to_float(F16 x) {
#if defined(__F16C__)
  return _cvtsh_ss(x.bits);
#else
  return to_float(x);
#endif
}

inline VecF widen_f16(VecH h) {
#if defined(__AVX512F__)
  return _mm512_maskz_cvtph_ps(0xffff, bit_cast_vec<__m256i>(h));
#elif defined(__F16C__)
  return _mm256_cvtph_ps(bit_cast_vec<__m128i>(h));
#else
  float lane[kLanes];
  for (int64_t l = 0; l < kLanes; ++l) lane[l] = to_float(F16{h[l]});
  VecF v;
  __builtin_memcpy(&v, lane, sizeof v);
  return v;
#endif
}

template <class Part>
inline VecF load(const F16* p, Part part) {
  return widen_f16(load_bits<VecH>(p, part));
}

}  // namespace
}  // namespace fathom::kernels::cpu::FATHOM_ISA_NS
