#include "base/svg.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace fathom {
namespace {

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '&')
      out += "&amp;";
    else if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else if (c == '"')
      out += "&quot;";
    else
      out += c;
  }
  return out;
}

/// Hundredths of a pixel, without trailing zeros: pictures of thousands of lines stay small.
std::string number(double x) {
  std::string text = fmt::format("{:.2f}", x);
  text.erase(text.find_last_not_of('0') + 1);
  if (text.back() == '.') text.pop_back();
  return text == "-0" ? "0" : text;
}

}  // namespace

Svg::Svg(double width, double height) : width_(width), height_(height) {}

void Svg::close(std::string_view element, std::string_view title) {
  body_ += title.empty() ? std::string("/>\n")
                         : fmt::format("><title>{}</title></{}>\n", escaped(title), element);
}

void Svg::rect(double x, double y, double width, double height, std::string_view fill,
               std::string_view title) {
  body_ += fmt::format(R"(<rect x="{}" y="{}" width="{}" height="{}" fill="{}")", number(x),
                       number(y), number(width), number(height), escaped(fill));
  close("rect", title);
}

void Svg::line(double x1, double y1, double x2, double y2, std::string_view stroke, double width) {
  body_ +=
      fmt::format(R"(<line x1="{}" y1="{}" x2="{}" y2="{}" stroke="{}" stroke-width="{}")",
                  number(x1), number(y1), number(x2), number(y2), escaped(stroke), number(width));
  close("line", {});
}

void Svg::polyline(std::span<const std::pair<double, double>> points, std::string_view stroke,
                   double width) {
  if (points.empty()) return;
  std::string list;
  for (const auto& [x, y] : points)
    list += fmt::format("{}{},{}", list.empty() ? "" : " ", number(x), number(y));
  body_ += fmt::format(R"(<polyline points="{}" fill="none" stroke="{}" stroke-width="{}")", list,
                       escaped(stroke), number(width));
  close("polyline", {});
}

void Svg::circle(double x, double y, double radius, std::string_view fill, std::string_view title) {
  body_ += fmt::format(R"(<circle cx="{}" cy="{}" r="{}" fill="{}")", number(x), number(y),
                       number(radius), escaped(fill));
  close("circle", title);
}

void Svg::text(double x, double y, std::string_view content, double size, Anchor anchor,
               std::string_view fill) {
  constexpr std::array kAnchors = {"start", "middle", "end"};
  body_ += fmt::format(R"(<text x="{}" y="{}" font-size="{}" text-anchor="{}" fill="{}">{}</text>)",
                       number(x), number(y), number(size), kAnchors[static_cast<size_t>(anchor)],
                       escaped(fill), escaped(content));
  body_ += '\n';
}

std::string Svg::str() const {
  return fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} "
      "{1}\" font-family=\"sans-serif\">\n<rect width=\"{0}\" height=\"{1}\" fill=\"white\"/>\n"
      "{2}</svg>\n",
      number(width_), number(height_), body_);
}

std::string heat_color(double share) {
  struct Color {
    double r, g, b;
  };
  constexpr std::array<Color, 4> kStops = {
      {{255, 255, 229}, {254, 196, 79}, {227, 74, 51}, {103, 0, 13}}};
  const double at = std::clamp(share, 0.0, 1.0) * (kStops.size() - 1);
  const auto i = std::min(static_cast<size_t>(at), kStops.size() - 2);
  const double f = at - static_cast<double>(i);
  const auto mix = [f](double a, double b) {
    return static_cast<int>(std::lround(a + f * (b - a)));
  };
  return fmt::format("#{:02x}{:02x}{:02x}", mix(kStops[i].r, kStops[i + 1].r),
                     mix(kStops[i].g, kStops[i + 1].g), mix(kStops[i].b, kStops[i + 1].b));
}

}  // namespace fathom
