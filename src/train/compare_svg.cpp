#include "train/compare_svg.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "base/svg.h"

namespace fathom::train {
namespace {

constexpr double kWidth = 960, kLeft = 70, kRight = 20, kPanel = 260;
constexpr double kBand = 0.25, kMostError = 5;  // percent
constexpr const char *kGrid = "#dddddd", *kBandColor = "#dff0dc";
// Distinguishable with colour-vision deficiencies (Okabe and Ito), the baseline in black.
constexpr std::array kColors = {"#222222", "#d55e00", "#0072b2", "#009e73",
                                "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f"};

const char* color_of(size_t run) {
  return kColors[run % kColors.size()];
}

struct Range {
  double low, high;
};

/// Steps of 1, 2 or 5 times a power of ten, about `count` in the range.
double tick_of(Range r, double count) {
  const double raw = (r.high - r.low) / count, power = std::pow(10, std::floor(std::log10(raw)));
  for (const double factor : {1.0, 2.0, 5.0})
    if (factor * power >= raw) return factor * power;
  return 10 * power;
}

/// A panel's rectangle, its ranges, and where a point lies.
struct Panel {
  double top;
  Range step, value;

  double x(double s) const {
    return kLeft + (kWidth - kLeft - kRight) * (s - step.low) / (step.high - step.low);
  }
  double y(double v) const {
    const double at = (std::clamp(v, value.low, value.high) - value.low) / (value.high - value.low);
    return top + kPanel * (1 - at);
  }
};

void draw_axes(Svg& svg, const Panel& p, const std::string& title, bool signed_values) {
  svg.text(kLeft, p.top - 10, title, 13);
  const double tick = tick_of(p.value, 6);
  for (double v = std::ceil(p.value.low / tick) * tick; v <= p.value.high + tick * 1e-9;
       v += tick) {
    const double shown = std::abs(v) < tick / 2 ? 0 : v;
    svg.line(kLeft, p.y(v), kWidth - kRight, p.y(v), kGrid);
    svg.text(
        kLeft - 6, p.y(v) + 4,
        signed_values && shown != 0 ? fmt::format("{:+.4g}", shown) : fmt::format("{:.4g}", shown),
        11, Svg::Anchor::kEnd);
  }
  const double step = std::max(1.0, tick_of(p.step, 10));
  for (double s = std::ceil(p.step.low / step) * step; s <= p.step.high; s += step) {
    svg.line(p.x(s), p.top + kPanel, p.x(s), p.top + kPanel + 4, "#222");
    svg.text(p.x(s), p.top + kPanel + 17, fmt::format("{:.0f}", s), 11, Svg::Anchor::kMiddle);
  }
  svg.line(kLeft, p.top + kPanel, kWidth - kRight, p.top + kPanel, "#222");
  svg.line(kLeft, p.top, kLeft, p.top + kPanel, "#222");
  svg.text(kWidth - kRight, p.top + kPanel + 34, "step", 12, Svg::Anchor::kEnd);
}

/// A line through the points of the panel's steps. Where several fall on one pixel, their least
/// and greatest stand for them, so that spikes stay visible and files small.
void draw_curve(Svg& svg, const Panel& p, const std::vector<int64_t>& steps,
                const std::vector<double>& values, double factor, const char* color) {
  const auto column = [&](size_t i) { return std::floor(p.x(static_cast<double>(steps[i]))); };
  std::vector<std::pair<double, double>> points;
  const auto add = [&](size_t i) {
    const auto step = static_cast<double>(steps[i]);
    if (step >= p.step.low) points.emplace_back(p.x(step), p.y(factor * values[i]));
  };
  for (size_t i = 0; i < steps.size();) {
    size_t end = i, least = i, greatest = i;
    for (; end < steps.size() && column(end) == column(i); ++end) {
      if (values[end] < values[least]) least = end;
      if (values[end] > values[greatest]) greatest = end;
    }
    add(std::min(least, greatest));
    if (least != greatest) add(std::max(least, greatest));
    i = end;
  }
  svg.polyline(points, color, 1.5);
}

Range steps_of(const Comparison& c) {
  Range r{static_cast<double>(c.warmup_steps), static_cast<double>(c.warmup_steps) + 1};
  for (const ComparedRun& run : c.runs)
    if (!run.steps.empty()) r.high = std::max(r.high, static_cast<double>(run.steps.back()));
  return r;
}

Range losses_of(const Comparison& c) {
  Range r{1e300, -1e300};
  for (const ComparedRun& run : c.runs)
    for (size_t i = 0; i < run.steps.size(); ++i) {
      if (run.steps[i] <= c.warmup_steps) continue;
      r.low = std::min(r.low, run.loss[i]);
      r.high = std::max(r.high, run.loss[i]);
    }
  if (r.low > r.high) return {0, 1};
  const double margin = std::max(0.04 * (r.high - r.low), 1e-6 * std::abs(r.high) + 1e-12);
  return {r.low - margin, r.high + margin};
}

/// Percent, both ways alike; the band always fits.
Range errors_of(const Comparison& c) {
  double most = 1.6 * kBand;
  for (const ComparedRun& run : c.runs)
    if (run.errors) most = std::max(most, 105 * std::abs(run.errors->largest));
  most = std::min(most, kMostError);
  return {-most, most};
}

Range violations_of(const Comparison& c) {
  Range r{0, 0};
  for (const ComparedRun& run : c.runs)
    for (const double v : run.violation) r.high = std::max(r.high, 1.05 * v);
  return r;
}

void draw_legend(Svg& svg, std::span<const std::string> names) {
  double y = 50;
  for (size_t i = 0; i < names.size(); ++i, y += 18) {
    svg.line(kLeft, y, kLeft + 26, y, color_of(i), 3);
    svg.text(kLeft + 34, y + 4, i == 0 ? names[i] + " (baseline)" : names[i], 12);
  }
}

void draw_violations(Svg& svg, const Panel& panel, const Comparison& c) {
  draw_axes(svg, panel,
            fmt::format("Load balance: (largest expert load − mean) / mean, mean over layers, "
                        "moving average {}",
                        c.ema),
            false);
  for (size_t i = 0; i < c.runs.size(); ++i)
    draw_curve(svg, panel, c.runs[i].violation_steps, c.runs[i].violation, 1, color_of(i));
}

}  // namespace

std::string draw_comparison(const Comparison& c, std::span<const std::string> names) {
  const double legend = 18 * static_cast<double>(names.size());
  constexpr double kPitch = kPanel + 74;
  const double first = 50 + legend + 24, second = first + kPitch, third = second + kPitch;
  const Range violations = violations_of(c);
  Svg svg(kWidth, (violations.high > 0 ? third : second) + kPanel + 46);
  svg.text(kLeft, 28, "Loss of training runs", 17);
  draw_legend(svg, names);
  const Panel loss{first, steps_of(c), losses_of(c)}, error{second, steps_of(c), errors_of(c)};
  draw_axes(svg, loss, fmt::format("Loss, nats a token, exponential moving average {}", c.ema),
            false);
  for (size_t i = 0; i < c.runs.size(); ++i)
    draw_curve(svg, loss, c.runs[i].steps, c.runs[i].loss, 1, color_of(i));

  svg.rect(kLeft, error.y(kBand), kWidth - kLeft - kRight, error.y(-kBand) - error.y(kBand),
           kBandColor);
  draw_axes(
      svg, error,
      fmt::format("Relative error, %, over the band of ±{}%{}", kBand,
                  error.value.high < kMostError ? "" : fmt::format("; cut at ±{}%", kMostError)),
      true);
  for (size_t i = 1; i < c.runs.size(); ++i)
    draw_curve(svg, error, c.runs[i].error_steps, c.runs[i].error, 100, color_of(i));
  if (violations.high > 0) draw_violations(svg, {third, {0, steps_of(c).high}, violations}, c);
  return svg.str();
}

}  // namespace fathom::train
