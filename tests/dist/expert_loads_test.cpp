#include "dist/expert_loads.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/philox.h"

namespace fathom::dist {
namespace {

const LayerLoads kLoads = {{1, 2.5, 3}, {4, 0, 6e2}};

TEST(ExpertLoads, AllFormatsMeanTheSame) {
  EXPECT_EQ(parse_expert_loads("[[1, 2.5, 3], [4, 0, 600]]", "f"), kLoads);
  EXPECT_EQ(parse_expert_loads("{\n \"expert_loads\": [[1, 2.5, 3],\n [4, 0, 6e2]]}", "f"), kLoads);
  EXPECT_EQ(parse_expert_loads("{\"expert_loads\": [[1, 2.5, 3], [4, 0, 600]]}", "f"), kLoads);
  EXPECT_EQ(parse_expert_loads("1,2.5,3\n4,0,6e2\n", "f"), kLoads);
  EXPECT_EQ(parse_expert_loads("\r\n 1 , 2.5,3\r\n\r\n4,0,600", "f"), kLoads);
}

TEST(ExpertLoads, MetricsAreSummed) {
  EXPECT_EQ(parse_expert_loads("{\"step\": 1, \"expert_loads\": [[1, 2, 3], [4, 0, 500]]}\n"
                               "{\"step\": 2, \"loss\": 3}\n"
                               "{\"step\": 3, \"expert_loads\": [[0, 0.5, 0], [0, 0, 100]]}\n",
                               "f"),
            kLoads);
}

std::string refusal(std::string_view text) {
  try {
    parse_expert_loads(text, "f");
  } catch (const Error& e) {
    return e.what();
  }
  return "accepted";
}

TEST(ExpertLoads, ErrorsNameThePlace) {
  EXPECT_EQ(refusal(" \n"), "f: the file is empty");
  EXPECT_EQ(refusal("[]"), "f: no loads");
  EXPECT_EQ(refusal("[[]]"), "f: no loads");
  EXPECT_EQ(refusal("[1, 2]"), "f: layer 0: 1 is not a list of loads");
  EXPECT_EQ(refusal("[[1, 2], [1, \"x\"]]"), "f: layer 1: \"x\" is not a load");
  EXPECT_EQ(refusal("[[1, 2], [1]]"), "f: layer 1 has 1 experts, layer 0 has 2");
  EXPECT_EQ(refusal("[[1, -2]]"), "f: layer 0: -2 is not a load");
  EXPECT_EQ(refusal("{\"loads\": [[1]]}"), "f: no line has \"expert_loads\"");
  EXPECT_EQ(refusal("{\n\"loads\": [[1]]}"), "f: there is no \"expert_loads\"");
  EXPECT_EQ(refusal("{}\n[1]\n"), "f: line 2: not an object");
  EXPECT_EQ(refusal("{\"expert_loads\": [[1]]}\n{\"expert_loads\": [[1, 2]]}"),
            "f: line 2: another number of experts than before");
  EXPECT_EQ(refusal("{\"expert_loads\": [[1]]}\n{\"expert_loads\": [[1], [2]]}"),
            "f: line 2: another number of layers than before");
  EXPECT_EQ(refusal("\n1,2\n3,x\n"), "f: line 3, column 2: \"x\" is not a number");
  EXPECT_EQ(refusal("1,2,\n"), "f: line 1, column 3: \"\" is not a number");
  EXPECT_EQ(refusal("1,nan\n"), "f: line 1, column 2: nan is not a load");
  EXPECT_EQ(refusal("1,2\n1\n"), "f: layer 1 has 1 experts, layer 0 has 2");
  EXPECT_NE(refusal("[[1, 2]").find("not valid JSON"), std::string::npos);
}

// Cut, changed and joined anywhere, a file is either refused with an Error or gives loads that a
// placement accepts.
TEST(ExpertLoads, DamagedTextIsRefusedOrRead) {
  const std::string files[] = {"[[1, 2.5, 3], [4, 0, 600]]", "1,2.5,3\n4,0,6e2\n",
                               "{\"expert_loads\": [[1, 2], [4, 0]]}\n{\"step\": 2}\n"};
  const std::string bytes = "[]{},:\"0-.eE \n\\nan\xff";
  int accepted = 0;
  for (uint64_t i = 0; i < 3000; ++i) {
    const auto random = Philox(11).block(i);
    std::string text = files[random[0] % 3];
    text[random[1] % text.size()] = bytes[random[2] % bytes.size()];
    if (random[3] % 4 == 0) text.resize(random[3] / 4 % text.size());
    try {
      const LayerLoads loads = parse_expert_loads(text, "f");
      const int experts = static_cast<int>(loads.front().size());
      place_experts(loads, {.replicas = experts + 1, .gpus = 1});
      ++accepted;
    } catch (const Error&) {
    }
  }
  EXPECT_GT(accepted, 100);
}

}  // namespace
}  // namespace fathom::dist
