#include "base/svg.h"

#include <gtest/gtest.h>

#include <vector>

namespace fathom {
namespace {

TEST(SvgTest, EscapesTextAndTitles) {
  Svg svg(10, 20);
  svg.text(1, 2, "a<b & \"c\"");
  svg.rect(0, 0, 1.5, 2.25, "red", "1 > 0");
  const std::string text = svg.str();
  EXPECT_NE(text.find("a&lt;b &amp; &quot;c&quot;"), std::string::npos);
  EXPECT_NE(text.find("width=\"1.5\" height=\"2.25\""), std::string::npos);
  EXPECT_NE(text.find("<title>1 &gt; 0</title></rect>"), std::string::npos);
}

TEST(SvgTest, JoinsPoints) {
  Svg svg(10, 20);
  svg.polyline({}, "red");
  EXPECT_EQ(svg.str().find("<polyline"), std::string::npos);
  const std::vector<std::pair<double, double>> points = {{1, 2}, {3.5, 4}};
  svg.polyline(points, "red", 2);
  EXPECT_NE(svg.str().find("<polyline points=\"1,2 3.5,4\" fill=\"none\" stroke=\"red\""),
            std::string::npos);
}

TEST(SvgTest, HeatGoesFromLightToDark) {
  EXPECT_EQ(heat_color(-1), "#ffffe5");
  EXPECT_EQ(heat_color(0), "#ffffe5");
  EXPECT_EQ(heat_color(1), "#67000d");
  EXPECT_EQ(heat_color(2), "#67000d");
}

}  // namespace
}  // namespace fathom
