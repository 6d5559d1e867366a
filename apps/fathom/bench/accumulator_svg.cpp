#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "base/svg.h"
#include "bench/accumulator.h"

namespace fathom::app {
namespace {

constexpr double kWidth = 760, kHeight = 420, kLeft = 80, kRight = 190, kTop = 60, kBottom = 60;
constexpr std::array kColors = {"#0072b2", "#d55e00", "#009e73"};

/// Both axes logarithmic: intervals in octaves, errors in decades.
struct Axes {
  double interval_low, interval_high, error_low, error_high;

  double x(double interval) const {
    return kLeft + (kWidth - kLeft - kRight) * std::log2(interval / interval_low) /
                       std::log2(interval_high / interval_low);
  }
  double y(double error) const {
    const double share = std::log10(error / error_low) / std::log10(error_high / error_low);
    return kHeight - kBottom - (kHeight - kTop - kBottom) * share;
  }
};

double interval_of(const AccumulatorCase& c, int64_t depth) {
  return static_cast<double>(c.interval == 0 ? depth : std::min(c.interval, depth));
}

Axes axes_of(const std::vector<AccumulatorCase>& cases, int64_t depth) {
  Axes a{static_cast<double>(depth), static_cast<double>(depth), 1e300, 0};
  for (const AccumulatorCase& c : cases) {
    a.error_high = std::max(a.error_high, c.error.max);
    if (c.error.max > 0) a.error_low = std::min(a.error_low, c.error.max);
    if (!c.fp32) a.interval_low = std::min(a.interval_low, interval_of(c, depth));
  }
  a.interval_low = std::min(a.interval_low, a.interval_high / 2);
  a.error_low = std::min(std::pow(10, std::floor(std::log10(a.error_low))), 1e-3);
  a.error_high = std::max(std::pow(10, std::ceil(std::log10(a.error_high))), 1e-1);
  return a;
}

std::string percent(double share) {
  const int decimals = std::max(0, static_cast<int>(std::ceil(-std::log10(100 * share) - 1e-9)));
  return fmt::format("{:.{}f}%", 100 * share, decimals);
}

void draw_axes(Svg& svg, const Axes& a) {
  for (double e = a.error_low; e < a.error_high * 1.001; e *= 10) {
    svg.line(kLeft, a.y(e), kWidth - kRight, a.y(e), "#dddddd");
    svg.text(kLeft - 6, a.y(e) + 4, percent(e), 11, Svg::Anchor::kEnd);
  }
  for (double i = a.interval_low; i < a.interval_high * 1.001; i *= 2) {
    svg.line(a.x(i), kHeight - kBottom, a.x(i), kHeight - kBottom + 4, "#222");
    svg.text(a.x(i), kHeight - kBottom + 17,
             i < a.interval_high * 0.999 ? fmt::format("{:.0f}", i) : "never", 11,
             Svg::Anchor::kMiddle);
  }
  svg.text((kLeft + kWidth - kRight) / 2, kHeight - 16, "products between promotions to FP32, N_C",
           12, Svg::Anchor::kMiddle);
  svg.line(kLeft, a.y(0.02), kWidth - kRight, a.y(0.02), "#999999");
  svg.text(kLeft + 6, a.y(0.02) - 5, "2%", 11);
}

}  // namespace

std::string draw_accumulator(const std::vector<AccumulatorCase>& cases, int64_t depth) {
  const Axes a = axes_of(cases, depth);
  Svg svg(kWidth, kHeight);
  svg.text(20, 28, fmt::format("Greatest error over the results' root mean square, K = {}", depth),
           15);
  draw_axes(svg, a);
  std::vector<std::string> kinds;
  for (const AccumulatorCase& c : cases)
    if (kinds.empty() || kinds.back() != c.inputs) kinds.push_back(c.inputs);
  double y = kTop + 10;
  for (size_t k = 0; k < kinds.size(); ++k) {
    const char* color = kColors[k % kColors.size()];
    std::vector<std::pair<double, double>> line;
    double fp32 = 0;
    for (const AccumulatorCase& c : cases) {
      if (c.inputs != kinds[k] || c.error.max == 0) continue;
      if (c.fp32)
        fp32 = c.error.max;
      else
        line.emplace_back(a.x(interval_of(c, depth)), a.y(c.error.max));
    }
    std::sort(line.begin(), line.end());
    svg.polyline(line, color, 2);
    for (const auto& [px, py] : line) svg.circle(px, py, 3.5, color);
    if (fp32 > 0) svg.line(kLeft, a.y(fp32), kWidth - kRight, a.y(fp32), color, 0.8);
    svg.line(kWidth - kRight + 16, y, kWidth - kRight + 40, y, color, 2);
    svg.text(kWidth - kRight + 46, y + 4, kinds[k], 12);
    y += 20;
  }
  svg.text(kWidth - kRight + 16, y + 8, "thin lines: FP32 sums", 11);
  return svg.str();
}

}  // namespace fathom::app
