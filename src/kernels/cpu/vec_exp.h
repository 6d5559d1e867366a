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

/// e^x = e^r · 2^n with x = n·ln 2 + r, |r| <= ln 2 / 2: e^r, and `shifted` for 2^n.
struct ReducedExp {
  VecF p, shifted;
};
inline ReducedExp reduced_exp(VecF x) {
  const float to_integer = 0x1.8p23f;  // adding it rounds to an integer, in the low bits
  const VecF shifted = x * 1.44269504088896f + to_integer;
  const VecF n = shifted - to_integer;
  const VecF r = (x - n * 0.693359375f) + n * 2.12194440e-4f;  // ln 2 in two parts (Cody & Waite)
  // Cephes' minimax polynomial (expf), evaluated in pairs to shorten the chain of dependencies.
  const VecF r2 = r * r;
  const VecF p54 = r * 1.9875691500e-4f + 1.3981999507e-3f;
  const VecF p32 = r * 8.3334519073e-3f + 4.1665795894e-2f;
  const VecF p10 = r * 1.6666665459e-1f + 5.0000001201e-1f;
  const VecF p = (p54 * r2 + p32) * r2 + p10;
  return {p * r2 + r + 1.0f, shifted};
}

/// e^x within one unit in the last place (tested over the whole range), subnormal results included;
/// overflow gives infinity, underflow zero, NaN stays NaN.
inline VecF exp_vec(VecF x) {
  // Beyond, the result is infinite or rounds to zero.
  const ReducedExp e = reduced_exp(at_most(89.0f, at_least(-104.0f, x)));
  return scale_by_power(e.p, e.shifted);
}

/// e^x for |x| <= 87, where 2^n is normal.
inline VecF exp_in_range(VecF x) {
  const ReducedExp e = reduced_exp(x);
#if defined(__AVX512F__)
  return scale_by_power(e.p, e.shifted);
#else
  return e.p * bit_cast_vec<VecF>((bit_cast_vec<VecU>(e.shifted) << 23) + 0x3f800000u);
#endif
}

/// 1 / x for normal x with a normal inverse, within one unit in the last place. Division of 64
/// bytes takes about as long as all of e^x: AVX-512 refines an estimate of 14 bits by one step of
/// Newton's.
inline VecF inverse_vec(VecF x) {
#if defined(__AVX512F__)
  const VecF y = _mm512_maskz_rcp14_ps(0xffff, x);
  return y + y * (1.0f - x * y);
#else
  return 1.0f / x;
#endif
}

/// σ(x) = 1 / (1 + e^-x) and silu(x) = x·σ(x).
struct Silu {
  VecF sigmoid, silu;
};

/// x < -87 counts as -87, where σ is 1.6e-38; σ is within 3 units in the last place of that, tested
/// over the whole range. NaN stays NaN, silu(∞) = ∞.
inline Silu silu_vec(VecF x) {
  x = at_least(-87.0f, x);
  const VecF s = inverse_vec(1.0f + exp_in_range(-at_most(87.0f, x)));
  return {s, x * s};
}

inline VecF sigmoid_vec(VecF x) {
  return silu_vec(x).sigmoid;
}

}  // namespace
}  // namespace fathom::kernels::cpu::FATHOM_ISA_NS
