#pragma once

#include "kernels/cpu/vec.h"

namespace fathom::kernels::cpu::FATHOM_ISA_NS {
namespace {

/// p·2^n for integral n in [-256, 254], rounded once even where the result is subnormal.
/// `shifted` is n + 1.5·2^23, whose low bits are n.
inline VecF scale_by_power(VecF p, VecF shifted) {
#if defined(__AVX512F__)
  return _mm512_maskz_scalef_ps(0xffff, p, shifted - 0x1.8p23f);
#else
  // Two factors, as 2^n alone may be out of range. Unsigned arithmetic wraps for NaN's garbage.
  const VecU biased = bit_cast_vec<VecU>(shifted) - (0x4b400000u - 256u);  // n + 256 >= 0
  const VecU half = biased >> 1;
  const VecF scale1 = bit_cast_vec<VecF>((half - 1u) << 23);  // 2^(half − 128)
  const VecF scale2 = bit_cast_vec<VecF>((biased - half - 1u) << 23);
  return p * scale1 * scale2;
#endif
}

/// e^x within one unit in the last place (tested over the whole range), subnormal results included;
/// overflow gives infinity, underflow zero, NaN stays NaN.
/// x = n·ln 2 + r with |r| <= ln 2 / 2, then e^r from a polynomial, times 2^n.
inline VecF exp_vec(VecF x) {
  x = at_most(89.0f, at_least(-104.0f, x));  // beyond, the result is infinite or rounds to zero
  const float to_integer = 0x1.8p23f;        // adding it rounds to an integer, in the low bits
  const VecF shifted = x * 1.44269504088896f + to_integer;
  const VecF n = shifted - to_integer;
  const VecF r = (x - n * 0.693359375f) + n * 2.12194440e-4f;  // ln 2 in two parts (Cody & Waite)
  // Cephes' minimax polynomial (expf), evaluated in pairs to shorten the chain of dependencies.
  const VecF r2 = r * r;
  const VecF p54 = r * 1.9875691500e-4f + 1.3981999507e-3f;
  const VecF p32 = r * 8.3334519073e-3f + 4.1665795894e-2f;
  const VecF p10 = r * 1.6666665459e-1f + 5.0000001201e-1f;
  const VecF p = (p54 * r2 + p32) * r2 + p10;
  return scale_by_power(p * r2 + r + 1.0f, shifted);
}

/// 1 / (1 + e^-x): within 4 units in the last place for x > -87, below 2^-125 under that.
inline VecF sigmoid_vec(VecF x) {
  return 1.0f / (1.0f + exp_vec(-x));
}

}  // namespace
}  // namespace fathom::kernels::cpu::FATHOM_ISA_NS
