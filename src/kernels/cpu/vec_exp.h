#pragma once

#include "kernels/cpu/vec.h"

namespace fathom::kernels::cpu::FATHOM_ISA_NS {
namespace {

/// e^x within one unit in the last place (tested over the whole range), subnormal results
/// included; overflow gives infinity, underflow zero, NaN stays NaN.
/// x = n·ln 2 + r with |r| <= ln 2 / 2, then e^r from a polynomial and 2^n in two exact factors, so
/// that a subnormal result is rounded once.
inline VecF exp_vec(VecF x) {
  x = x > 89.0f ? splat(89.0f) : x;      // e^89 overflows; comparisons leave NaN alone
  x = x < -104.0f ? splat(-104.0f) : x;  // e^-104 rounds to zero
  const float to_integer = 0x1.8p23f;    // adding it rounds to an integer, in the low bits
  const VecF shifted = x * 1.44269504088896f + to_integer;
  const VecF n = shifted - to_integer;
  const VecF r = (x - n * 0.693359375f) + n * 2.12194440e-4f;  // ln 2 in two parts (Cody & Waite)
  VecF p = 1.9875691500e-4f * r + 1.3981999507e-3f;            // Cephes' minimax polynomial (expf)
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r;
  p = p + 1.0f;
  // The low bits of `shifted` hold n; unsigned arithmetic wraps for the garbage that NaN leaves.
  const VecU biased = bit_cast_vec<VecU>(shifted) - 0x4b400000u + 256u;  // n + 256 > 0
  const VecU half = biased >> 1;
  const VecF scale1 = bit_cast_vec<VecF>((half - 1u) << 23);  // 2^(half − 128)
  const VecF scale2 = bit_cast_vec<VecF>((biased - half - 1u) << 23);
  return p * scale1 * scale2;
}

/// 1 / (1 + e^-x): within 4 units in the last place for x > -87, below 2^-125 under that.
inline VecF sigmoid_vec(VecF x) {
  return 1.0f / (1.0f + exp_vec(-x));
}

}  // namespace
}  // namespace fathom::kernels::cpu::FATHOM_ISA_NS
