// E4M3 weights with scales for blocks of 128 x 128, in place as DeepSeek publishes them.
#include <cmath>
#include <limits>
#include <set>

#include "checkpoint/model_io_fixture.h"
#include "numerics/bf16.h"
#include "numerics/e4m3.h"

namespace fathom {
namespace {
namespace fs = std::filesystem;

// Widths beyond a block, none a multiple of 128: every edge occurs.
ModelConfig wide_config() {
  ModelConfig c = small_config();
  c.hidden_size = 200;
  c.q_lora_rank = 136;
  c.kv_lora_rank = 130;
  c.intermediate_size = 300;
  c.moe_intermediate_size = 140;
  c.validate("test");
  return c;
}

class Fp8Model : public ModelIo {
 protected:
  void save_again(const WeightFormat& format) {
    fs::remove_all(dir_);
    fs::create_directory(dir_);
    save(wide_config(), format);
  }
  // Replaces the scales of one weight.
  void replace_scale(const std::string& name, const Tensor& scale) {
    rewrite("model.safetensors", [&](const std::string& n, ConstTensorView v) {
      return n == name ? ConstTensorView(scale) : v;
    });
  }
  static constexpr const char* kWeight = "model.layers.0.mlp.up_proj.weight";
  static constexpr const char* kScale = "model.layers.0.mlp.up_proj.weight_scale_inv";
};

// Report section 3.3.2, in plain loops.
std::vector<float> round_trip(const std::vector<float>& w, int64_t rows, int64_t cols, bool pow2) {
  std::vector<float> out(w.size());
  for (int64_t r0 = 0; r0 < rows; r0 += 128)
    for (int64_t c0 = 0; c0 < cols; c0 += 128) {
      const auto each = [&](auto&& f) {
        for (int64_t r = r0; r < std::min(rows, r0 + 128); ++r)
          for (int64_t c = c0; c < std::min(cols, c0 + 128); ++c)
            f(static_cast<size_t>(r * cols + c));
      };
      float amax = kE4M3LeastAmax;
      each([&](size_t i) { amax = std::max(amax, std::abs(w[i])); });
      const float exact = amax / 448, scale = pow2 ? std::exp2(std::ceil(std::log2(exact))) : exact;
      const float inverse = pow2 ? 1 / scale : 448 / amax;
      each([&](size_t i) { out[i] = to_float(to_e4m3(w[i] * inverse)) * scale; });
    }
  return out;
}

TEST_F(Fp8Model, HoldsWhatTheRecipeQuantizes) {
  for (const bool pow2 : {false, true}) {
    dir_ = dir_ / (pow2 ? "pow2" : "f32");
    fs::create_directory(dir_);
    WeightFormat format = DType::kE4M3;
    if (pow2) format.quantization->scale_fmt = "ue8m0";
    const ModelConfig config = wide_config();
    save(config, format);
    const StoredModel stored = StoredModel::open(dir_);
    EXPECT_EQ(stored.config.quantization, format.quantization);
    const auto written = all_values(config, storage_->weights);
    const auto read = all_values(stored.config, stored.weights);
    ModelWeights weights = stored.weights;
    for_each_parameter(config, weights, [&](const ParameterInfo& info, Parameter& p) {
      std::vector<float> expected = written.at(info.name);
      if (p.quantized.values)
        expected = round_trip(expected, info.shape[0], info.shape[1], pow2);
      else if (info.kind != ParameterKind::kCorrectionBias)
        for (float& x : expected) x = to_float(to_bf16(x));
      EXPECT_EQ(read.at(info.name), expected) << info.name;
    });
    dir_ = dir_.parent_path();
  }
}

// Spec B.1.
TEST_F(Fp8Model, QuantizesWhatThePublishedCheckpointsQuantize) {
  save(wide_config(), DType::kE4M3);
  std::set<std::string> kept;
  const StoredModel stored = StoredModel::open(dir_);
  ModelWeights weights = stored.weights;
  for_each_parameter(stored.config, weights, [&](const ParameterInfo& info, Parameter& p) {
    if (info.shape.size() == 2 && !p.quantized.values) kept.insert(info.name);
  });
  EXPECT_EQ(kept, (std::set<std::string>{
                      "model.embed_tokens.weight", "lm_head.weight",
                      "model.layers.1.mlp.gate.weight", "model.layers.2.mlp.gate.weight",
                      "model.layers.3.mlp.gate.weight", "model.layers.3.eh_proj.weight"}));
}

TEST_F(Fp8Model, AlignsScalesInTheFile) {
  save(wide_config(), DType::kE4M3, 100'000);
  const CheckpointReader reader = CheckpointReader::open(dir_);
  for (const SafetensorsFile& file : reader.files())
    for (const TensorInfo& t : file.tensors()) EXPECT_EQ(t.begin % size_of(t.dtype), 0u) << t.name;
}

TEST_F(Fp8Model, WidensScalesOfFewerBits) {
  WeightFormat format = DType::kE4M3;
  format.quantization->scale_fmt = "ue8m0";
  save(wide_config(), format);
  const auto expected = all_values(wide_config(), StoredModel::open(dir_).weights);
  for (const DType dtype : {DType::kE8M0, DType::kBF16}) {
    std::vector<Tensor> narrow;
    for (const char* file : {"model.safetensors", "mtp.safetensors"})
      rewrite(file, [&](const std::string& name, ConstTensorView v) {
        if (!name.ends_with("_scale_inv") || v.dtype != DType::kF32) return v;
        narrow.push_back(make_tensor(dtype, {v.rows(), v.cols()}));
        for (int64_t i = 0; i < v.elements(); ++i) {
          const auto bits = std::bit_cast<uint32_t>(v.as<float>()[i]);
          if (dtype == DType::kBF16)
            narrow.back().as<BF16>()[i] = {static_cast<uint16_t>(bits >> 16)};
          else
            static_cast<uint8_t*>(narrow.back().view().data)[i] = static_cast<uint8_t>(bits >> 23);
        }
        return ConstTensorView(narrow.back());
      });
    EXPECT_EQ(all_values(wide_config(), StoredModel::open(dir_).weights), expected);
    save_again(format);
  }
}

TEST_F(Fp8Model, WidensHalfPrecision) {
  save(small_config(), DType::kF32);
  std::vector<Tensor> narrow;
  rewrite("model.safetensors", [&](const std::string& name, ConstTensorView v) {
    if (name != "model.norm.weight" && name != "model.layers.1.mlp.gate.weight") return v;
    std::vector<int64_t> shape(v.shape.begin(), v.shape.begin() + v.rank);
    narrow.push_back(make_tensor(DType::kF16, shape));
    for (int64_t i = 0; i < v.elements(); ++i)
      static_cast<uint16_t*>(narrow.back().view().data)[i] =
          static_cast<uint16_t>(i % 3 ? 0xb800 + i % 100 : 0x0001);
    return ConstTensorView(narrow.back());
  });
  const auto read = all_values(small_config(), StoredModel::open(dir_).weights);
  for (const char* name : {"model.norm.weight", "model.layers.1.mlp.gate.weight"})
    for (size_t i = 0; i < read.at(name).size(); ++i) {
      const float expected = i % 3 ? -0.5f - static_cast<float>(i % 100) * 0x1p-11f : 0x1p-24f;
      ASSERT_EQ(read.at(name)[i], expected) << name << i;
    }
}

TEST_F(Fp8Model, ListsWhatIsWrongWithScales) {
  save(wide_config(), DType::kE4M3);
  const Tensor transposed(DType::kF32, {2, 3}), integers(DType::kI32, {2, 2});
  rewrite("model.safetensors", [&](const std::string& name, ConstTensorView v) {
    if (name == kScale) return ConstTensorView(transposed);
    if (name == "model.layers.0.mlp.down_proj.weight_scale_inv") return ConstTensorView();
    if (name == "model.layers.1.self_attn.q_a_proj.weight_scale_inv")
      return ConstTensorView(integers);
    return v;
  });
  expect_parts(error_of_open(),
               {"3 of the weights", std::string(kScale) + " has shape [2, 3]", "need [3, 2]",
                "down_proj.weight_scale_inv is missing", "q_a_proj.weight_scale_inv is I32"});
}

TEST_F(Fp8Model, RefusesScalesThatAreNoScales) {
  save(wide_config(), DType::kE4M3);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const float bad : {nan, std::numeric_limits<float>::infinity(), -1.0f, 0.0f}) {
    Tensor scale(DType::kF32, {3, 2});
    for (int i = 0; i < 6; ++i) scale.as<float>()[i] = 0.01f;
    scale.as<float>()[5] = bad;
    replace_scale(kScale, scale);
    expect_parts(error_of_open(), {std::string(kScale) + " holds", "at [2, 1]"});
    EXPECT_NO_THROW(StoredModel::open(dir_, {.read_values = false})) << "headers only";
  }
}

TEST_F(Fp8Model, RefusesScalesWithoutCodesAndCodesWithoutConfig) {
  save(wide_config(), DType::kE4M3);
  const Tensor plain(DType::kBF16, {300, 200});
  rewrite("model.safetensors", [&](const std::string& name, ConstTensorView v) {
    return name == kWeight ? ConstTensorView(plain) : v;
  });
  expect_parts(error_of_open(),
               {"1 of the weights", std::string(kScale) + " is not part of the model"});
  save_again(DType::kE4M3);
  write_text_file(dir_ / "config.json", wide_config().to_json("bfloat16"));
  expect_parts(error_of_open(), {"no quantization_config of quant_method fp8"});
}

TEST_F(Fp8Model, ComputesWhatItsDequantizedTwinDoes) {
  save(wide_config(), DType::kE4M3);
  const StoredModel fp8 = StoredModel::open(dir_);
  ModelStorage wide(fp8.config, DType::kF32, false);
  Context ctx{Device{}, pool_, arena_};
  copy_weights(ctx, fp8, wide.weights);
  const std::vector<int32_t> ids = {3, 1, 4, 1, 5, 9, 2, 6, 5, 35, 8, 9, 7, 9, 3, 2, 38, 46, 26};
  const auto logits = [&](const ModelWeights& weights) {
    const Transformer model(fp8.config, weights, 64);
    const TokenRange all(0, static_cast<int64_t>(ids.size()));
    TransformerSaved saved;
    const Pass pass = all.pass(ctx, GemmPrecision::kF32);
    Tensor out(DType::kF32, {static_cast<int64_t>(ids.size()), fp8.config.vocab_size});
    model.logits(pass, model.forward(pass, ids, {}, saved), out);
    return std::vector<float>(out.as<float>(), out.as<float>() + out.view().elements());
  };
  // Dequantized values are the same floats; only the order of packing differs.
  const std::vector<float> a = logits(fp8.weights), b = logits(wide.weights);
  for (size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(a[i], b[i], 1e-5f * (1 + std::abs(b[i])));
}

}  // namespace
}  // namespace fathom
