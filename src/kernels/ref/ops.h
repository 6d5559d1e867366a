#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/adamw.h"

/// The definitions of the small operations in double precision, one loop an index. Arrays are
/// row-major and contiguous.
namespace fathom::kernels::ref {

using Values = std::vector<double>;

Values rmsnorm(const Values& x_TD, const Values& w_D, double eps);

struct RmsnormGradients {
  Values dx_TD, dw_D;
};
RmsnormGradients rmsnorm_backward(const Values& dy_TD, const Values& x_TD, const Values& w_D,
                                  double eps);

/// x is [T, H, 2I], cos and sin [positions, I].
Values rope(const Values& x_THR, std::span<const int32_t> position_T, const Values& cos_PI,
            const Values& sin_PI, int64_t pairs, bool inverse);

Values swiglu(const Values& gate_up_TF2, int64_t width);
Values swiglu_backward(const Values& gate_up_TF2, const Values& dy_TF, int64_t width);

struct CrossEntropy {
  Values loss_T, dlogits_TV;  // the gradient of Σ loss
};
/// Targets below zero do not count.
CrossEntropy cross_entropy(const Values& logits_TV, std::span<const int32_t> target_T);

/// The weighted sum over a token's choices: out[t] = Σ_k weight[t,k]·y[slot(t,k)].
Values unpermute(const Values& y_SD, std::span<const int32_t> slot_TK, const Values& weight_TK,
                 int64_t tokens);

struct AdamWState {
  Values w, m, v;
};
AdamWState adamw(const AdamWStep& step, const AdamWState& before, const Values& g);

}  // namespace fathom::kernels::ref
