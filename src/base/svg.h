#pragma once

#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace fathom {

/// A picture as SVG text, drawn in the order of the calls. Lengths are pixels, y grows downwards,
/// colours are CSS names or "#rrggbb". Text is escaped here. The same calls give the same bytes.
class Svg {
 public:
  Svg(double width, double height);

  /// title: what a browser shows when the pointer rests on the shape; empty: nothing.
  void rect(double x, double y, double width, double height, std::string_view fill,
            std::string_view title = {});
  void line(double x1, double y1, double x2, double y2, std::string_view stroke, double width = 1);
  /// Straight from each (x, y) to the next; nothing for no point.
  void polyline(std::span<const std::pair<double, double>> points, std::string_view stroke,
                double width = 1);
  void circle(double x, double y, double radius, std::string_view fill,
              std::string_view title = {});

  enum class Anchor { kStart, kMiddle, kEnd };
  void text(double x, double y, std::string_view content, double size = 12,
            Anchor anchor = Anchor::kStart, std::string_view fill = "#222");

  /// The finished document.
  std::string str() const;

 private:
  void close(std::string_view element, std::string_view title);

  double width_, height_;
  std::string body_;
};

/// White over yellow and red to dark red for a share in [0, 1]; clamped outside.
std::string heat_color(double share);

}  // namespace fathom
