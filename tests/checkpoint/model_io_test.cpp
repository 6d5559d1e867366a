#include "checkpoint/model_io_fixture.h"

#include <nlohmann/json.hpp>

#include "numerics/bf16.h"

namespace fathom {
namespace {
namespace fs = std::filesystem;

TEST_F(ModelIo, Fp32ComesBackExactly) {
  for (const auto& [name, config] : all_configs()) {
    dir_ = dir_ / name;
    fs::create_directory(dir_);
    save(config, DType::kF32);
    const StoredModel stored = StoredModel::open(dir_);
    EXPECT_EQ(stored.config, ModelConfig::from_json(config.to_json("float32"), name)) << name;
    EXPECT_EQ(all_values(config, stored.weights), all_values(config, storage_->weights)) << name;
    dir_ = dir_.parent_path();
  }
}

TEST_F(ModelIo, Bf16IsRoundedAndBiasesAreNot) {
  save(small_config(), DType::kBF16);
  const StoredModel stored = StoredModel::open(dir_);
  const auto read = all_values(stored.config, stored.weights);
  for (const auto& [name, written] : all_values(stored.config, storage_->weights)) {
    const bool exact = name.ends_with("e_score_correction_bias");
    for (size_t i = 0; i < written.size(); ++i)
      ASSERT_EQ(read.at(name)[i], exact ? written[i] : to_float(to_bf16(written[i]))) << name;
  }
}

TEST_F(ModelIo, CopiesIntoTrainingMemory) {
  save(small_config(), DType::kBF16);
  const StoredModel stored = StoredModel::open(dir_);
  ModelStorage copy(stored.config, DType::kF32, true);
  Context ctx{Device{}, pool_, arena_};
  copy_weights(ctx, stored, copy.weights);
  EXPECT_EQ(all_values(stored.config, copy.weights), all_values(stored.config, stored.weights));
}

// transformers warns of every unexpected tensor but those of layer 61.
TEST_F(ModelIo, MtpHasItsOwnFile) {
  save(small_config(), DType::kF32);
  const SafetensorsFile main = SafetensorsFile::open(dir_ / "model.safetensors");
  for (const TensorInfo& t : main.tensors())
    EXPECT_FALSE(t.name.starts_with("model.layers.3.")) << t.name;
  const SafetensorsFile mtp = SafetensorsFile::open(dir_ / "mtp.safetensors");
  for (const TensorInfo& t : mtp.tensors())
    EXPECT_TRUE(t.name.starts_with("model.layers.3.")) << t.name;
  for (const char* copy : {"embed_tokens.weight", "shared_head.head.weight"})
    EXPECT_TRUE(mtp.find(std::string("model.layers.3.") + copy)) << copy;
}

TEST_F(ModelIo, MtpOfSixtyOneLayersStaysInTheShards) {
  ModelConfig config = small_config();
  config.num_hidden_layers = 61;
  config.hidden_size = 16;
  config.n_routed_experts = 0;
  save(config, DType::kBF16);
  EXPECT_FALSE(fs::exists(dir_ / "mtp.safetensors"));
  const SafetensorsFile main = SafetensorsFile::open(dir_ / "model.safetensors");
  EXPECT_TRUE(main.find("model.layers.61.eh_proj.weight"));
  const StoredModel stored = StoredModel::open(dir_);
  EXPECT_EQ(stored.weights.mtp.size(), 1u);
}

TEST_F(ModelIo, ShardsReadAsOneFileDoes) {
  save(small_config(), DType::kF32, 50'000);
  EXPECT_TRUE(fs::exists(dir_ / "model.safetensors.index.json"));
  EXPECT_FALSE(fs::exists(dir_ / "model.safetensors"));
  const StoredModel stored = StoredModel::open(dir_);
  EXPECT_EQ(all_values(stored.config, stored.weights),
            all_values(stored.config, storage_->weights));
}

TEST_F(ModelIo, RandomModelIsTheInitialisedOne) {
  const ModelConfig config = small_config();
  Context ctx{Device{}, pool_, arena_};
  const uint64_t bytes = save_random_model(ctx, dir_, config, DType::kF32, 9, 50'000);
  ModelStorage initialised(config, DType::kF32, false);
  initialize(config, initialised.weights, 9);
  const StoredModel stored = StoredModel::open(dir_);
  EXPECT_EQ(all_values(config, stored.weights), all_values(config, initialised.weights));
  EXPECT_EQ(stored.bytes, bytes);
}

TEST_F(ModelIo, ListsEveryProblemAtOnce) {
  save(small_config(), DType::kF32);
  const Tensor wrong_shape(DType::kF32, {2, 2}), wrong_dtype(DType::kI32, {64}),
      i32_bias(DType::kI32, {8}), unknown(DType::kF32, {1});
  rewrite("model.safetensors", [&](const std::string& name, ConstTensorView v) {
    if (name == "model.norm.weight") return ConstTensorView();
    if (name == "lm_head.weight") return ConstTensorView(wrong_shape);
    if (name == "model.layers.0.input_layernorm.weight") return ConstTensorView(wrong_dtype);
    if (name == "model.layers.1.mlp.gate.e_score_correction_bias") return ConstTensorView(i32_bias);
    return v;
  });
  const std::vector<NamedTensor> extra = {{"extra.weight", unknown}};
  fs::rename(dir_ / "model.safetensors", dir_ / "a.safetensors");
  write_safetensors(dir_ / "b.safetensors", extra);
  const std::string error = error_of_open();
  expect_parts(error,
               {dir_.string(), "5 of the weights", "model.norm.weight is missing",
                "lm_head.weight has shape [2, 2]", "[61, 64]",
                "model.layers.0.input_layernorm.weight is I32", "e_score_correction_bias is I32",
                "(F32, BF16 or F16 is needed)", "extra.weight is not part of the model"});
}

TEST_F(ModelIo, ManyProblemsAreCounted) {
  save(small_config(), DType::kF32);
  rewrite("model.safetensors", [&](const std::string& name, ConstTensorView v) {
    return name.find("experts") == std::string::npos ? v : ConstTensorView();
  });
  // Two mixture layers of 8 routed experts and a shared one, three matrices each.
  expect_parts(error_of_open(), {"54 of the weights", "and 46 more"});
}

TEST_F(ModelIo, NamesTheMissingFile) {
  expect_parts(error_of_open(), {(dir_ / "config.json").string()});
  save(small_config(), DType::kF32);
  fs::remove(dir_ / "mtp.safetensors");
  EXPECT_EQ(error_of_open(), "no error") << "the modules are lost, the model is not";
  EXPECT_EQ(StoredModel::open(dir_).config.num_nextn_predict_layers, 0);
  fs::remove(dir_ / "model.safetensors");
  expect_parts(error_of_open(), {dir_.string()});
  dir_ /= "nowhere";
  expect_parts(error_of_open(), {dir_.string(), "not a model directory"});
  dir_ = dir_.parent_path();
}

TEST_F(ModelIo, MtpInPartIsAnError) {
  save(small_config(), DType::kF32);
  rewrite("mtp.safetensors", [&](const std::string& name, ConstTensorView v) {
    return name.ends_with(".enorm.weight") ? ConstTensorView() : v;
  });
  expect_parts(error_of_open(), {"1 of the weights", "model.layers.3.enorm.weight is missing"});
}

TEST_F(ModelIo, GenerationConfigHasEveryEndOfText) {
  ModelConfig config = small_config();
  config.bos_token_id = 3;
  config.eos_token_id = 4;
  config.more_eos_token_ids = {7, 9};
  save(config, DType::kBF16);
  const auto json = nlohmann::json::parse(read_text_file(dir_ / "generation_config.json"));
  EXPECT_EQ(json.at("bos_token_id"), 3);
  EXPECT_EQ(json.at("eos_token_id"), (std::vector<int>{4, 7, 9}));
}

TEST_F(ModelIo, GenerationConfigNamesMoreEndsOfText) {
  save(small_config(), DType::kBF16);
  const fs::path file = dir_ / "generation_config.json";
  const auto ids_of = [&](const char* text) {
    write_text_file(file, text);
    return StoredModel::open(dir_).generation_eos_ids;
  };
  EXPECT_EQ(ids_of(R"({"eos_token_id": [5, 2], "temperature": 0.6})"),
            (std::vector<int64_t>{5, 2}));
  EXPECT_EQ(ids_of(R"({"eos_token_id": 5})"), std::vector<int64_t>{5});
  EXPECT_TRUE(ids_of(R"({"eos_token_id": null})").empty());
  EXPECT_TRUE(ids_of("{}").empty());
  for (const char* wrong : {R"({"eos_token_id": 1000000})", R"({"eos_token_id": [1, -1]})",
                            R"({"eos_token_id": "1"})"}) {
    write_text_file(file, wrong);
    expect_parts(error_of_open(), {"generation_config.json: eos_token_id"});
  }
  fs::remove(file);
  EXPECT_TRUE(StoredModel::open(dir_).generation_eos_ids.empty());
}

TEST_F(ModelIo, DirectoryWithoutConfigSaysWhatElseItMayBe) {
  const auto hint = [&] {
    try {
      StoredModel::open(dir_);
    } catch (const Error& e) {
      return std::string(e.what()) + e.hint();
    }
    return std::string();
  };
  expect_parts(hint(), {"config.json: no such file", "*.safetensors"});
  write_text_file(dir_ / "x.gguf", "");
  expect_parts(hint(), {"the .gguf file itself"});
  fs::create_directory(dir_ / "snapshots");
  expect_parts(hint(), {"snapshots"});
}

TEST_F(ModelIo, CopiesATokenizer) {
  const fs::path from = dir_ / "from", to = dir_ / "to", to2 = dir_ / "to2";
  for (const fs::path& d : {from, to, to2}) fs::create_directory(d);
  write_text_file(from / "tokenizer.json", "{}");
  write_text_file(from / "tokenizer_config.json", "{\"a\":1}");
  copy_tokenizer(from, to);
  copy_tokenizer(from / "tokenizer.json", to2);
  for (const fs::path& d : {to, to2}) {
    EXPECT_EQ(read_text_file(d / "tokenizer.json"), "{}");
    EXPECT_EQ(read_text_file(d / "tokenizer_config.json"), "{\"a\":1}");
    EXPECT_FALSE(fs::exists(d / "chat_template.jinja"));
  }
  EXPECT_THROW(copy_tokenizer(dir_ / "nowhere", to), Error);
}

}  // namespace
}  // namespace fathom
