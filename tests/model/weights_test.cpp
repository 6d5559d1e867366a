#include "model/weights.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "infer/infer_test.h"

namespace fathom {
namespace {

using Shape = std::vector<int64_t>;

// Shapes by name, without allocating anything.
std::map<std::string, ParameterInfo> table(const ModelConfig& config) {
  std::map<std::string, ParameterInfo> all;
  ModelWeights weights;
  for_each_parameter(config, weights, [&](const ParameterInfo& info, Parameter&) {
    EXPECT_TRUE(all.emplace(info.name, info).second) << info.name << " twice";
  });
  return all;
}

// The published list (spec B.1): layers {first..last} and experts {first..last} multiply a row.
class PublishedV3 {
 public:
  PublishedV3() {
    add("model.embed_tokens.weight", {129280, 7168});
    add("model.norm.weight", {7168});
    add("lm_head.weight", {129280, 7168});
    for (int l = 0; l <= 61; ++l) add_layer("model.layers." + std::to_string(l) + ".", l);
    const std::string mtp = "model.layers.61.";
    add(mtp + "enorm.weight", {7168});
    add(mtp + "hnorm.weight", {7168});
    add(mtp + "eh_proj.weight", {7168, 14336});
    add(mtp + "shared_head.norm.weight", {7168});
  }
  const std::map<std::string, Shape>& shapes() const { return shapes_; }

 private:
  void add(const std::string& name, const Shape& shape) { shapes_.emplace(name, shape); }

  void add_layer(const std::string& prefix, int layer) {
    add(prefix + "input_layernorm.weight", {7168});
    add(prefix + "post_attention_layernorm.weight", {7168});
    add(prefix + "self_attn.q_a_proj.weight", {1536, 7168});
    add(prefix + "self_attn.q_a_layernorm.weight", {1536});
    add(prefix + "self_attn.q_b_proj.weight", {24576, 1536});
    add(prefix + "self_attn.kv_a_proj_with_mqa.weight", {576, 7168});
    add(prefix + "self_attn.kv_a_layernorm.weight", {512});
    add(prefix + "self_attn.kv_b_proj.weight", {32768, 512});
    add(prefix + "self_attn.o_proj.weight", {7168, 16384});
    if (layer < 3) return add_mlp(prefix + "mlp.", 18432);
    add(prefix + "mlp.gate.weight", {256, 7168});
    add(prefix + "mlp.gate.e_score_correction_bias", {256});
    for (int e = 0; e < 256; ++e) add_mlp(prefix + "mlp.experts." + std::to_string(e) + ".", 2048);
    add_mlp(prefix + "mlp.shared_experts.", 2048);
  }

  void add_mlp(const std::string& prefix, int64_t width) {
    add(prefix + "gate_proj.weight", {width, 7168});
    add(prefix + "up_proj.weight", {width, 7168});
    add(prefix + "down_proj.weight", {7168, width});
  }

  std::map<std::string, Shape> shapes_;
};

TEST(ParameterTable, IsThePublishedV3s) {
  std::map<std::string, Shape> shapes;
  for (const auto& [name, info] : table(ModelConfig::preset("deepseek-v3")))
    shapes.emplace(name, info.shape);
  const PublishedV3 published;
  for (const auto& [name, shape] : published.shapes()) {
    ASSERT_TRUE(shapes.count(name)) << name;
    EXPECT_EQ(shapes.at(name), shape) << name;
  }
  EXPECT_EQ(shapes.size(), published.shapes().size());
}

TEST(ParameterTable, V2LiteHasItsCount) {
  const auto all = table(ModelConfig::preset("deepseek-v2-lite"));
  EXPECT_EQ(all.size(), 5291u);  // spec B.1
  EXPECT_EQ(all.at("model.layers.0.self_attn.q_proj.weight").shape, (Shape{3072, 2048}));
  EXPECT_EQ(all.at("model.layers.1.mlp.shared_experts.up_proj.weight").shape, (Shape{2816, 2048}));
  EXPECT_FALSE(all.count("model.layers.1.mlp.gate.e_score_correction_bias"));
}

TEST(ParameterTable, KindsDecideInitialisationAndDecay) {
  for (const auto& [name, info] : table(ModelConfig::preset("deepseek-v3"))) {
    const bool bias = name.ends_with("e_score_correction_bias");
    const ParameterKind kind = bias                     ? ParameterKind::kCorrectionBias
                               : info.shape.size() == 1 ? ParameterKind::kNorm
                                                        : ParameterKind::kMatrix;
    EXPECT_EQ(info.kind, kind) << name;
  }
}

TEST(ParameterTable, MtpRepeatsEmbeddingAndHead) {
  using Pairs = std::vector<std::pair<std::string, std::string>>;
  EXPECT_EQ(duplicate_names(ModelConfig::preset("deepseek-v3")),
            (Pairs{{"model.layers.61.embed_tokens.weight", "model.embed_tokens.weight"},
                   {"model.layers.61.shared_head.head.weight", "lm_head.weight"}}));
  ModelConfig tied = small_config();
  tied.tie_word_embeddings = true;
  tied.num_nextn_predict_layers = 2;
  EXPECT_EQ(duplicate_names(tied),
            (Pairs{{"model.layers.3.embed_tokens.weight", "model.embed_tokens.weight"},
                   {"model.layers.3.shared_head.head.weight", "model.embed_tokens.weight"},
                   {"model.layers.4.embed_tokens.weight", "model.embed_tokens.weight"},
                   {"model.layers.4.shared_head.head.weight", "model.embed_tokens.weight"}}));
}

TEST(ModelStorage, TiedHeadIsTheEmbedding) {
  ModelConfig tied = small_config();
  tied.tie_word_embeddings = true;
  const ModelStorage storage(tied, DType::kF32, true);
  EXPECT_EQ(storage.weights.lm_head.weight.data, storage.weights.embed_tokens.weight.data);
  EXPECT_EQ(storage.weights.lm_head.grad.data, storage.weights.embed_tokens.grad.data);
}

TEST(Initialize, DependsOnSeedAndNameAlone) {
  const ModelConfig config = small_config();
  ModelStorage storage(config, DType::kF32, false);
  initialize(config, storage.weights, 7);
  // One at a time, last first, among other seeds' values.
  std::vector<std::pair<ParameterInfo, TensorView>> all;
  for_each_parameter(config, storage.weights, [&](const ParameterInfo& info, Parameter& p) {
    all.emplace_back(info, p.weight);
  });
  std::reverse(all.begin(), all.end());
  for (const auto& [info, weight] : all) {
    Tensor alone = info.shape.size() == 1 ? Tensor(DType::kF32, {info.shape[0]})
                                          : Tensor(DType::kF32, {info.shape[0], info.shape[1]});
    initialize_parameter(config, info, alone, 7);
    EXPECT_EQ(values(alone), values(weight)) << info.name;
    if (info.kind != ParameterKind::kMatrix) continue;
    initialize_parameter(config, info, alone, 8);
    EXPECT_NE(values(alone), values(weight)) << info.name;
  }
}

// Mean and standard deviation of n values of N(0, s²) lie within 5/sqrt(n) standard deviations of
// theirs but in a millionth of cases; the seed is fixed.
TEST(Initialize, MatricesAreNormal) {
  ModelConfig config = small_config();
  config.initializer_range = 0.006;
  ModelStorage storage(config, DType::kF32, false);
  initialize(config, storage.weights, 1);
  const std::vector<float> w = values(storage.weights.embed_tokens.weight);
  const auto n = static_cast<double>(w.size());
  double sum = 0, squares = 0;
  for (const float x : w) sum += x, squares += double{x} * x;
  EXPECT_NEAR(sum / n, 0, 0.006 * 5 / std::sqrt(n));
  EXPECT_NEAR(std::sqrt(squares / n), 0.006, 0.006 * 5 / std::sqrt(2 * n));
  EXPECT_EQ(storage.weights.norm.weight.as<float>()[0], 1);
  const TensorView& bias = storage.weights.layers[1].moe->e_score_correction_bias.weight;
  EXPECT_EQ(bias.as<float>()[0], 0);
}

}  // namespace
}  // namespace fathom
