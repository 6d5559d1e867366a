// compressed-tensors' integers: what is written reads as what its codes mean.
#include <cmath>

#include "checkpoint/model_io_fixture.h"

namespace fathom {
namespace {
namespace fs = std::filesystem;

constexpr const char* kWeight = "model.layers.1.self_attn.o_proj.weight";

class IntModel : public ModelIo {
 protected:
  // The greatest error of a matrix in units of its group's range, which the step divides.
  void expect_close(int64_t bits, int64_t group, bool symmetric) {
    save(small_config(), WeightFormat::integers(bits, group, symmetric));
    const StoredModel stored = StoredModel::open(dir_);
    const auto read = all_values(stored.config, stored.weights);
    const auto written = all_values(stored.config, storage_->weights);
    ModelWeights weights = stored.weights;
    for_each_parameter(stored.config, weights, [&](const ParameterInfo& info, Parameter& p) {
      if (!p.quantized.values) return;
      const int64_t width = group > 0 ? group : info.shape[1];
      for (int64_t r = 0; r < info.shape[0]; ++r)
        for (int64_t c = 0; c < info.shape[1]; c += width)
          expect_group(info.name, read.at(info.name), written.at(info.name), r * info.shape[1] + c,
                       std::min(width, info.shape[1] - c), bits);
    });
  }

  // Within half a step of the range 2·amax, and the rounding of the scale to BF16 over the range.
  static void expect_group(const std::string& name, const std::vector<float>& read,
                           const std::vector<float>& written, int64_t begin, int64_t count,
                           int64_t bits) {
    float amax = 0;
    for (int64_t i = begin; i < begin + count; ++i)
      amax = std::max(amax, std::abs(written[static_cast<size_t>(i)]));
    const float bound = amax * (1 / static_cast<float>((1 << bits) - 1) + 0x1p-7f) + 1e-6f;
    for (int64_t i = begin; i < begin + count; ++i)
      ASSERT_NEAR(read[static_cast<size_t>(i)], written[static_cast<size_t>(i)], 1.5f * bound)
          << name << " " << i;
  }
};

TEST_F(IntModel, ComesBackWithinAStep) {
  int directory = 0;
  for (const int64_t bits : {4, 8})
    for (const int64_t group : {0, 32, 64})
      for (const bool symmetric : {true, false}) {
        dir_ = dir_ / std::to_string(directory++);
        fs::create_directory(dir_);
        expect_close(bits, group, symmetric);
        dir_ = dir_.parent_path();
      }
}

TEST_F(IntModel, WritesCompressedTensorsLayout) {
  save(small_config(), WeightFormat::integers(4, 32, false));
  const SafetensorsFile file = SafetensorsFile::open(dir_ / "model.safetensors");
  const std::string name = kWeight;  // [64, 48]
  EXPECT_EQ(file.find(name), nullptr);
  EXPECT_EQ(file.find(name + "_packed")->shape, (std::vector<int64_t>{64, 6}));
  EXPECT_EQ(file.find(name + "_scale")->shape, (std::vector<int64_t>{64, 2}));
  EXPECT_EQ(file.find(name + "_zero_point")->shape, (std::vector<int64_t>{8, 2}));
  EXPECT_EQ(file.view(name + "_shape").as<int64_t>()[1], 48);
  const ModelConfig config = ModelConfig::from_file(dir_ / "config.json");
  EXPECT_EQ(config.quantization, WeightFormat::integers(4, 32, false).quantization);
}

TEST_F(IntModel, ListsWhatIsWrong) {
  save(small_config(), WeightFormat::integers(4, 32, true));
  const Tensor wrong(DType::kBF16, {64, 3}), nan_scale(DType::kF32, {64, 2});
  for (int i = 0; i < 128; ++i) nan_scale.as<float>()[i] = i == 1 ? NAN : 1.0f;
  const std::string name = kWeight, other = "model.layers.0.mlp.down_proj.weight";
  rewrite("model.safetensors", [&](const std::string& n, ConstTensorView v) {
    if (n == name + "_scale") return ConstTensorView(nan_scale);
    if (n == other + "_scale") return ConstTensorView();
    return v;
  });
  expect_parts(error_of_open(), {"2 of the weights", other + "_scale is missing",
                                 name + "_scale holds nan at [0, 1]"});
  write_text_file(dir_ / "config.json", small_config().to_json("bfloat16"));
  expect_parts(error_of_open(), {"no quantization_config of quant_method compressed-tensors"});
}

TEST_F(IntModel, ScalesAndZeroPointsAreThoseOfTheConfig) {
  save(small_config(), WeightFormat::integers(4, 32, false));
  const Tensor whole_row(DType::kBF16, {64, 1});
  const std::string name = kWeight, other = "model.layers.0.mlp.down_proj.weight";
  rewrite("model.safetensors", [&](const std::string& n, ConstTensorView v) {
    if (n == name + "_scale") return ConstTensorView(whole_row);
    if (n == other + "_zero_point") return ConstTensorView();
    return v;
  });
  expect_parts(error_of_open(),
               {"2 of the weights", other + "_zero_point is missing",
                name + "_scale has 1 groups for 48 columns, quantization_config needs 2"});
}

}  // namespace
}  // namespace fathom
