#include "model/config.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/file.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

const fs::path kFixtures = fs::path(FATHOM_SOURCE_DIR) / "tests/fixtures/config";

json parsed(const fs::path& path) {
  return json::parse(read_text_file(path));
}

std::string message_of(const std::string& text) {
  try {
    ModelConfig::from_json(text, "c.json");
  } catch (const Error& e) {
    EXPECT_FALSE(e.hint().empty());
    return e.what();
  }
  return "no error";
}

std::string message_of_json(const json& document) {
  return message_of(document.dump());
}

void expect_contains(const std::string& text, std::string_view part) {
  EXPECT_NE(text.find(part), std::string::npos) << "missing: " << part << "\nin: " << text;
}

std::vector<fs::path> config_files() {
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(kFixtures.parent_path())) {
    const std::string name = entry.path().filename().string();
    if (name == "config.json" || name.starts_with("transformers-") ||
        name.starts_with("published-"))
      files.push_back(entry.path());
  }
  return files;
}

TEST(ConfigTest, EveryFixtureLoadsAndSurvivesBeingWritten) {
  const std::vector<fs::path> files = config_files();
  EXPECT_GE(files.size(), 13u);
  for (const fs::path& path : files) {
    SCOPED_TRACE(path.string());
    const ModelConfig config = ModelConfig::from_file(path);
    const ModelConfig again = ModelConfig::from_json(config.to_json("bfloat16"), "written");
    EXPECT_EQ(again, config);
  }
}

TEST(ConfigTest, WritesTheFieldsThatWereRead) {
  for (const fs::path& path : config_files()) {
    SCOPED_TRACE(path.string());
    const json read = parsed(path);
    const json written = json::parse(ModelConfig::from_file(path).to_json("float32"));
    EXPECT_EQ(written["torch_dtype"], "float32");
    for (const auto& [name, value] : written.items()) {
      const bool rewritten =
          name == "rope_scaling" || name == "rope_theta" || name == "torch_dtype";
      if (rewritten || !read.contains(name) || read[name].is_null()) continue;
      EXPECT_EQ(value, read[name]) << name;
    }
  }
}

TEST(ConfigTest, PublishedFilesEqualThePresets) {
  const std::pair<const char*, const char*> pairs[] = {
      {"published-v3.json", "deepseek-v3"},
      {"published-v2-lite.json", "deepseek-v2-lite"},
      {"published-kimi-k2.json", "kimi-k2"}};
  for (const auto& [file, preset] : pairs) {
    SCOPED_TRACE(file);
    ModelConfig config = ModelConfig::from_file(kFixtures / file);
    config.initializer_range = ModelConfig().initializer_range;  // the files say 0.02 (spec A.1)
    config.quantization.reset();
    EXPECT_EQ(config, ModelConfig::preset(preset));
  }
}

TEST(ConfigTest, FP8ConfigKeepsItsQuantization) {
  const ModelConfig config = ModelConfig::from_file(kFixtures / "published-v3.json");
  ASSERT_TRUE(config.quantization);
  EXPECT_EQ(config.quantization->scale_fmt, "ue8m0");
  EXPECT_EQ(config.quantization->block_rows, 128);
  const json written = json::parse(config.to_json("bfloat16"));
  EXPECT_EQ(written["quantization_config"],
            parsed(kFixtures / "published-v3.json")["quantization_config"]);
}

TEST(ConfigTest, SoftmaxScaleIsTransformersOwn) {
  const json scales = parsed(kFixtures / "softmax_scale.json");
  for (const auto& [file, scale] : scales.items()) {
    // Both round the same double once.
    EXPECT_FLOAT_EQ(ModelConfig::from_file(kFixtures / file).softmax_scale(), scale.get<float>())
        << file;
  }
  EXPECT_FLOAT_EQ(ModelConfig::preset("deepseek-v3").softmax_scale(), 0.1352338F);
}

TEST(ConfigTest, GateOfEachMethod) {
  using kernels::GateSelection;
  EXPECT_EQ(ModelConfig::preset("deepseek-v3").gate().selection, GateSelection::kGroupTop2);
  EXPECT_EQ(ModelConfig::preset("deepseek-v2").gate().selection, GateSelection::kGroupMax);
  EXPECT_EQ(ModelConfig::preset("deepseek-v2-lite").gate().selection, GateSelection::kGreedy);
  EXPECT_EQ(ModelConfig::preset("kimi-k2").gate().selection, GateSelection::kGreedy);
  const kernels::GateConfig gate = ModelConfig::preset("deepseek-v3").gate();
  EXPECT_EQ(gate.experts, 256);
  EXPECT_EQ(gate.top_k, 8);
  EXPECT_EQ(gate.topk_groups, 4);
  EXPECT_FLOAT_EQ(gate.scaling_factor, 2.5F);
  EXPECT_TRUE(gate.normalize);
}

TEST(ConfigTest, ListOfEndTokens) {
  const ModelConfig config = ModelConfig::from_file(kFixtures / "transformers-v3-eos-list.json");
  EXPECT_EQ(config.eos_token_id, 1);
  EXPECT_EQ(config.more_eos_token_ids, std::vector<int64_t>{128801});
}

TEST(ConfigTest, NullIsAsAbsentAndToolsMayMarkAFile) {
  json document = parsed(kFixtures / "published-v3.json");
  document["sliding_window"] = nullptr;
  document["unsloth_fixed"] = true;
  EXPECT_EQ(ModelConfig::from_json(document.dump(), "c.json"),
            ModelConfig::from_file(kFixtures / "published-v3.json"));
}

TEST(ConfigTest, UnknownFieldGetsASuggestion) {
  json document = parsed(kFixtures / "published-v3.json");
  document["num_expert_per_tok"] = 8;
  document["colour"] = "blue";
  document["rope_scaling"]["facter"] = 4;
  const std::string message = message_of_json(document);
  expect_contains(message, "c.json: 3 problems");
  expect_contains(message, "\"num_expert_per_tok\": did you mean 'num_experts_per_tok'?");
  expect_contains(message, "unknown field \"colour\": remove it");
  expect_contains(message, "\"rope_scaling.facter\": did you mean 'factor'?");
}

TEST(ConfigTest, EveryMissingFieldIsNamedAtOnce) {
  const std::string message =
      message_of_json(json{{"model_type", "deepseek_v3"}, {"n_routed_experts", 8}});
  for (const char* name :
       {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
        "max_position_embeddings", "rms_norm_eps", "num_attention_heads", "kv_lora_rank",
        "q_lora_rank", "n_shared_experts", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim",
        "n_group", "topk_group", "first_k_dense_replace", "num_experts_per_tok",
        "moe_intermediate_size"}) {
    expect_contains(message, std::string(name) + " is missing");
  }
  for (const char* name : {"n_group", "rope_theta"}) {
    json document = parsed(kFixtures / "published-v3.json");
    document.erase(name);
    expect_contains(message_of_json(document), "c.json: " + std::string(name) + " is missing");
  }
}

TEST(ConfigTest, OtherArchitecturesAreOneProblem) {
  EXPECT_EQ(message_of_json(json{{"model_type", "llama"}, {"hidden_size", 1}}),
            "c.json: model_type = \"llama\": must be deepseek_v2, deepseek_v3 or kimi_k2");
}

struct Contradiction {
  const char* patch;  // merged into published-v3.json (RFC 7386)
  const char* message;
};

TEST(ConfigTest, ContradictionsNameFieldValueAndRemedy) {
  const Contradiction cases[] = {
      {R"({"hidden_size": "big"})", "hidden_size = \"big\": must be an integer"},
      {R"({"hidden_size": 7168.5})", "hidden_size = 7168.5: must be an integer"},
      {R"({"hidden_size": 18446744073709551615})", "must be an integer"},
      {R"({"hidden_size": 0})", "hidden_size = 0: must be from 1 to"},
      {R"({"num_hidden_layers": -3})", "num_hidden_layers = -3: must be from 1 to"},
      {R"({"num_attention_heads": 0, "num_key_value_heads": 0})", "num_attention_heads = 0"},
      {R"({"num_key_value_heads": 8})",
       "num_key_value_heads = 8: must be 128: in MLA it equals num_attention_heads"},
      {R"({"kv_lora_rank": 0})", "kv_lora_rank = 0: must be from 1"},
      {R"({"q_lora_rank": -1})", "q_lora_rank = -1: must be from 0"},
      {R"({"qk_rope_head_dim": 63})", "qk_rope_head_dim = 63: must be even"},
      {R"({"qk_head_dim": 128})", "qk_head_dim = 128: must be 192"},
      {R"({"n_group": 7})", "n_group = 7: must divide n_routed_experts = 256"},
      {R"({"topk_group": 9})", "topk_group = 9: must be at most n_group = 8"},
      {R"({"num_experts_per_tok": 200})", "num_experts_per_tok = 200: must be at most 128"},
      {R"({"n_group": 256, "topk_group": 200})", "noaux_tc ranks groups by their best two"},
      {R"({"first_k_dense_replace": 62})", "must be at most num_hidden_layers = 61"},
      {R"({"hidden_act": "gelu"})", "hidden_act = \"gelu\": must be \"silu\""},
      {R"({"attention_bias": true})", "attention_bias = true: must be false"},
      {R"({"attention_dropout": 0.1})", "attention_dropout = 0.1: must be 0"},
      {R"({"rope_interleave": false})", "rope_interleave = false: must be true"},
      {R"({"scoring_func": "softmax"})", "scoring_func must be \"sigmoid\" with model_type"},
      {R"({"scoring_func": "tanh"})", "scoring_func = \"tanh\": must be \"sigmoid\" or"},
      {R"({"topk_method": "greedy"})", "topk_method must be \"noaux_tc\" with model_type"},
      {R"({"topk_method": "best"})", "topk_method = \"best\": must be \"greedy\""},
      {R"({"architectures": ["LlamaForCausalLM"]})", "must be [\"DeepseekV3ForCausalLM\"]"},
      {R"({"rms_norm_eps": 0})", "rms_norm_eps = 0: must be from"},
      {R"({"rope_theta": 1})", "rope_theta = 1: must be from"},
      {R"({"bos_token_id": 129280})", "bos_token_id = 129280: must be from 0 to vocab_size - 1"},
      {R"({"eos_token_id": [1, "x"]})", "must be an integer or a list of integers"},
      {R"({"rope_scaling": 4})", "rope_scaling = 4: must be an object or null"},
      {R"({"rope_scaling": {"type": "linear"}})",
       "rope_scaling.type = \"linear\": must be \"yarn\""},
      {R"({"rope_scaling": {"rope_type": "default"}})", "contradicts rope_type = \"default\""},
      {R"({"rope_scaling": {"factor": null}})", "rope_scaling.factor is missing"},
      {R"({"rope_scaling": {"factor": 0.5}})", "rope_scaling.factor = 0.5: must be from 1"},
      {R"({"rope_scaling": {"mscale_all_dim": null, "mscale": 0.7}})", "give both or neither"},
      {R"({"rope_scaling": {"rope_theta": 5}})", "rope_theta = 10000 contradicts"},
      {R"({"rope_parameters": {"rope_type": "default"}})", "and rope_scaling are both given"},
      {R"({"quantization_config": {"quant_method": "gptq"}})", "quant_method = \"gptq\": must be"},
      {R"({"quantization_config": {"weight_block_size": [128]}})", "list of two integers"},
      {R"({"quantization_config": {"fmt": "e5m2"}})", "quantization_config.fmt must be \"e4m3\""},
      {R"({"n_routed_experts": 65536, "moe_intermediate_size": 16000000})", "parameters: must be"},
  };
  for (const Contradiction& c : cases) {
    SCOPED_TRACE(c.patch);
    json document = parsed(kFixtures / "published-v3.json");
    document.merge_patch(json::parse(c.patch));
    const std::string message = message_of_json(document);
    expect_contains(message, c.message);
    expect_contains(message, "c.json: ");
    EXPECT_EQ(message.find("problems"), std::string::npos) << "one cause, one problem: " << message;
  }
}

TEST(ConfigTest, SoftmaxModelsAreHeldToTransformersDefinition) {
  json document = parsed(kFixtures / "published-v2-lite.json");
  document["norm_topk_prob"] = true;
  expect_contains(message_of_json(document), "norm_topk_prob = true: must be false");
}

TEST(ConfigTest, ValidateChecksAConfigBuiltInCode) {
  ModelConfig config = ModelConfig::preset("nano");
  EXPECT_NO_THROW(config.validate("[model]"));
  config.n_group = 3;
  EXPECT_THROW(config.validate("[model]"), Error);
}

TEST(ConfigTest, DamagedFiles) {
  const std::string whole = read_text_file(kFixtures / "published-v3.json");
  for (size_t length = 0; length + 2 < whole.size(); length += 7) {
    expect_contains(message_of(whole.substr(0, length)), "c.json: not valid JSON: byte ");
  }
  expect_contains(message_of(whole + "x"), "not valid JSON");
  expect_contains(message_of("{\"a\": 1, \"a\": 2}"), "the name \"a\" occurs twice");
  expect_contains(message_of("{\"a\xff\": 1}"), "not valid JSON");
  expect_contains(message_of("[1, 2]"), "must be a JSON object, is [1,2]");
  expect_contains(message_of("{\"hidden_size\": 1e999}"), "not valid JSON");
  expect_contains(message_of(std::string(100000, '[')), "nested deeper than 64 levels");
  EXPECT_THROW(ModelConfig::from_file(kFixtures / "none.json"), Error);
}

}  // namespace
}  // namespace fathom
