#include "kernels/ref/ops.h"

#include <algorithm>
#include <cmath>

namespace fathom::kernels::ref {
namespace {

double mean_square(const double* x, size_t d) {
  double sum = 0;
  for (size_t i = 0; i < d; ++i) sum += x[i] * x[i];
  return sum / static_cast<double>(d);
}

double sigmoid(double x) {
  return 1 / (1 + std::exp(-x));
}

}  // namespace

Values rmsnorm(const Values& x_TD, const Values& w_D, double eps) {
  const size_t d = w_D.size();
  Values y(x_TD.size());
  for (size_t t = 0; t < x_TD.size() / d; ++t) {
    const double rstd = 1 / std::sqrt(mean_square(&x_TD[t * d], d) + eps);
    for (size_t i = 0; i < d; ++i) y[t * d + i] = x_TD[t * d + i] * rstd * w_D[i];
  }
  return y;
}

RmsnormGradients rmsnorm_backward(const Values& dy_TD, const Values& x_TD, const Values& w_D,
                                  double eps) {
  const size_t d = w_D.size();
  RmsnormGradients out = {Values(x_TD.size()), Values(d)};
  for (size_t t = 0; t < x_TD.size() / d; ++t) {
    const double *dy = &dy_TD[t * d], *x = &x_TD[t * d];
    const double rstd = 1 / std::sqrt(mean_square(x, d) + eps);
    double mean = 0;
    for (size_t i = 0; i < d; ++i) mean += dy[i] * w_D[i] * x[i] / static_cast<double>(d);
    for (size_t i = 0; i < d; ++i) {
      out.dx_TD[t * d + i] = rstd * (dy[i] * w_D[i] - x[i] * rstd * rstd * mean);
      out.dw_D[i] += dy[i] * x[i] * rstd;
    }
  }
  return out;
}

Values rope(const Values& x_THR, std::span<const int32_t> position_T, const Values& cos_PI,
            const Values& sin_PI, int64_t pairs, bool inverse) {
  const size_t i_count = static_cast<size_t>(pairs), t_count = position_T.size();
  const size_t row = x_THR.size() / t_count;  // a token's H·R values
  Values y(x_THR.size());
  for (size_t t = 0; t < t_count; ++t)
    for (size_t at = t * row; at < (t + 1) * row; at += 2) {
      const size_t angle = static_cast<size_t>(position_T[t]) * i_count + at / 2 % i_count;
      const double c = cos_PI[angle], s = inverse ? -sin_PI[angle] : sin_PI[angle];
      y[at] = x_THR[at] * c - x_THR[at + 1] * s;
      y[at + 1] = x_THR[at + 1] * c + x_THR[at] * s;
    }
  return y;
}

Values swiglu(const Values& gate_up_TF2, int64_t width) {
  const size_t f = static_cast<size_t>(width);
  Values y(gate_up_TF2.size() / 2);
  for (size_t i = 0; i < y.size(); ++i) {
    const double g = gate_up_TF2[i / f * 2 * f + i % f], u = gate_up_TF2[i / f * 2 * f + f + i % f];
    y[i] = g / (1 + std::exp(-g)) * u;
  }
  return y;
}

Values swiglu_backward(const Values& gate_up_TF2, const Values& dy_TF, int64_t width) {
  const size_t f = static_cast<size_t>(width);
  Values d(gate_up_TF2.size());
  for (size_t i = 0; i < dy_TF.size(); ++i) {
    const size_t at_g = i / f * 2 * f + i % f, at_u = at_g + f;
    const double g = gate_up_TF2[at_g], u = gate_up_TF2[at_u], s = sigmoid(g);
    d[at_g] = dy_TF[i] * u * s * (1 + g * (1 - s));
    d[at_u] = dy_TF[i] * g * s;
  }
  return d;
}

CrossEntropy cross_entropy(const Values& logits_TV, std::span<const int32_t> target_T) {
  const size_t v = logits_TV.size() / target_T.size();
  CrossEntropy out = {Values(target_T.size()), Values(logits_TV.size())};
  for (size_t t = 0; t < target_T.size(); ++t) {
    if (target_T[t] < 0) continue;
    const double* x = &logits_TV[t * v];
    const double max = *std::max_element(x, x + v);
    double sum = 0;
    for (size_t i = 0; i < v; ++i) sum += std::exp(x[i] - max);
    const size_t target = static_cast<size_t>(target_T[t]);
    out.loss_T[t] = max + std::log(sum) - x[target];
    for (size_t i = 0; i < v; ++i)
      out.dlogits_TV[t * v + i] = std::exp(x[i] - max) / sum - (i == target ? 1 : 0);
  }
  return out;
}

Values unpermute(const Values& y_SD, std::span<const int32_t> slot_TK, const Values& weight_TK,
                 int64_t tokens) {
  const size_t d = y_SD.size() / slot_TK.size(), k = slot_TK.size() / static_cast<size_t>(tokens);
  Values out(static_cast<size_t>(tokens) * d);
  for (size_t i = 0; i < slot_TK.size(); ++i)
    for (size_t c = 0; c < d; ++c)
      out[i / k * d + c] += weight_TK[i] * y_SD[static_cast<size_t>(slot_TK[i]) * d + c];
  return out;
}

AdamWState adamw(const AdamWStep& s, const AdamWState& before, const Values& g) {
  const double correction1 = 1 - std::pow(s.beta1, static_cast<double>(s.step));
  const double correction2 = 1 - std::pow(s.beta2, static_cast<double>(s.step));
  AdamWState after = before;
  for (size_t i = 0; i < g.size(); ++i) {
    const double grad = g[i] * s.grad_scale;
    double &w = after.w[i], &m = after.m[i], &v = after.v[i];
    w -= s.lr * s.weight_decay * w;
    m = s.beta1 * m + (1 - s.beta1) * grad;
    v = s.beta2 * v + (1 - s.beta2) * grad * grad;
    w -= s.lr * (m / correction1) / (std::sqrt(v / correction2) + s.eps);
  }
  return after;
}

}  // namespace fathom::kernels::ref
