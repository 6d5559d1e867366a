#include "checkpoint/gguf_file.h"

#include <map>

#include "checkpoint/gguf_builder.h"
#include "checkpoint/gguf_config.h"
#include "checkpoint/gguf_tokenizer.h"
#include "checkpoint/model_io_fixture.h"
#include "text/byte_level.h"

namespace fathom {
namespace {
namespace fs = std::filesystem;

constexpr uint32_t kTypeF32 = 0, kTypeQ8_0 = 8;

GgufHeader parse(const std::string& bytes) {
  return parse_gguf_header(std::as_bytes(std::span(bytes)), "file");
}

std::string error_of(const std::string& bytes) {
  try {
    parse(bytes);
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

std::string floats(size_t count) {
  return std::string(4 * count, 1);
}

GgufBuilder small_file() {
  GgufBuilder b;
  b.key("general.architecture", "deepseek2");
  b.key("a.count", uint32_t{7});
  b.key("a.real", 1.5f);
  b.key("a.flag", true);
  b.texts("a.tokens", {"x", "", "yy"});
  b.tensor("v", {3}, kTypeF32, floats(3));
  b.tensor("m", {2, 5, 32}, kTypeQ8_0, std::string(10 * 34, 2));
  return b;
}

TEST(GgufHeader, ReadsKeysAndTensors) {
  const std::string bytes = small_file().build();
  const GgufHeader header = parse(bytes);
  EXPECT_EQ(std::get<std::string>(header.metadata.at("general.architecture")), "deepseek2");
  EXPECT_EQ(std::get<int64_t>(header.metadata.at("a.count")), 7);
  EXPECT_EQ(std::get<double>(header.metadata.at("a.real")), 1.5);
  EXPECT_TRUE(std::get<bool>(header.metadata.at("a.flag")));
  EXPECT_EQ(std::get<GgufArray>(header.metadata.at("a.tokens")).count, 3u);
  ASSERT_EQ(header.tensors.size(), 2u);
  EXPECT_EQ(header.tensors[1].shape, (std::vector<int64_t>{2, 5, 32}));
  EXPECT_EQ(header.tensors[1].bytes(), 340u);
  EXPECT_EQ(bytes[header.tensors[1].begin], 2);
}

TEST(GgufHeader, RefusesEveryTruncation) {
  const std::string bytes = small_file().build();
  const size_t end = bytes.size() - 12;  // the padding after the last tensor may go
  for (size_t n = 0; n < end; ++n) EXPECT_THROW(parse(bytes.substr(0, n)), Error) << n;
}

TEST(GgufHeader, SaysWhatIsWrong) {
  const std::string good = small_file().build();
  const auto with = [&](size_t at, uint8_t value) {
    std::string bytes = good;
    bytes[at] = static_cast<char>(value);
    return error_of(bytes);
  };
  expect_parts(with(0, 'X'), {"is not a GGUF file"});
  expect_parts(with(4, 1), {"GGUF version 1"});
  expect_parts(with(15, 0x7f), {"tensors, more than fit"});
  expect_parts(with(24 + 7, 0x10), {"reaches past the end"});
  GgufBuilder odd = small_file();
  odd.tensor("n", {4, 33}, kTypeQ8_0, std::string(1000, 0));
  expect_parts(error_of(odd.build()), {"tensor n", "blocks of 32"});
  GgufBuilder unknown = small_file();
  unknown.tensor("n", {4, 32}, 16, std::string(1000, 0));
  expect_parts(error_of(unknown.build()), {"tensor n is of ggml type 16"});
  GgufBuilder twice = small_file();
  twice.key("a.flag", true);
  expect_parts(error_of(twice.build()), {"a.flag occurs twice"});
}

/// As a current converter (or, with whole_kv_b, one from before April 2025) would write F32.
class GgufModel : public ModelIo {
 protected:
  GgufBuilder metadata(const ModelConfig& c, bool whole_kv_b) const {
    GgufBuilder b;
    const auto u32 = [&](const char* name, int64_t value) {
      if (name != left_out_) b.key(std::string("deepseek2.") + name, static_cast<uint32_t>(value));
    };
    b.key("general.architecture", architecture_);
    u32("block_count", c.num_hidden_layers);
    u32("embedding_length", c.hidden_size);
    u32("feed_forward_length", c.intermediate_size);
    u32("context_length", c.max_position_embeddings);
    u32("attention.head_count", c.num_attention_heads);
    u32("attention.q_lora_rank", c.q_lora_rank);
    u32("attention.kv_lora_rank", c.kv_lora_rank);
    u32("rope.dimension_count", c.qk_rope_head_dim);
    u32("attention.key_length", whole_kv_b ? c.qk_head_dim() : c.cache_width());
    u32("attention.value_length", whole_kv_b ? c.v_head_dim : c.kv_lora_rank);
    if (!whole_kv_b) u32("attention.key_length_mla", c.qk_head_dim());
    if (!whole_kv_b) u32("attention.value_length_mla", c.v_head_dim);
    u32("leading_dense_block_count", c.first_k_dense_replace);
    u32("expert_count", c.n_routed_experts);
    u32("expert_used_count", c.num_experts_per_tok);
    u32("expert_shared_count", c.n_shared_experts);
    u32("expert_feed_forward_length", c.moe_intermediate_size);
    u32("expert_group_count", c.n_group);
    u32("expert_group_used_count", c.topk_group);
    u32("expert_gating_func", 2);
    b.key("deepseek2.expert_weights_norm", true);
    b.key("deepseek2.expert_weights_scale", static_cast<float>(c.routed_scaling_factor));
    b.key("deepseek2.attention.layer_norm_rms_epsilon", static_cast<float>(c.rms_norm_eps));
    b.key("deepseek2.rope.freq_base", static_cast<float>(c.rope_theta));
    return b;
  }

  static std::string bytes_of(const std::vector<float>& v) {
    return {reinterpret_cast<const char*>(v.data()), 4 * v.size()};
  }

  void write_layer(GgufBuilder& b, const ModelConfig& c, int64_t l, bool whole_kv_b) {
    const std::string from = "model.layers." + std::to_string(l) + ".";
    const std::string to = "blk." + std::to_string(l) + ".";
    const auto add = [&](const std::string& name, const std::string& module,
                         const std::vector<int64_t>& shape) {
      b.tensor(to + name, shape, kTypeF32, bytes_of(values_.at(from + module)));
    };
    const int64_t d = c.hidden_size, f = c.moe_intermediate_size, e = c.n_routed_experts;
    add("attn_norm.weight", "input_layernorm.weight", {d});
    add("ffn_norm.weight", "post_attention_layernorm.weight", {d});
    add("attn_q_a.weight", "self_attn.q_a_proj.weight", {c.q_lora_rank, d});
    add("attn_q_a_norm.weight", "self_attn.q_a_layernorm.weight", {c.q_lora_rank});
    add("attn_q_b.weight", "self_attn.q_b_proj.weight",
        {c.num_attention_heads * c.qk_head_dim(), c.q_lora_rank});
    add("attn_kv_a_mqa.weight", "self_attn.kv_a_proj_with_mqa.weight", {c.cache_width(), d});
    add("attn_kv_a_norm.weight", "self_attn.kv_a_layernorm.weight", {c.kv_lora_rank});
    add("attn_output.weight", "self_attn.o_proj.weight", {d, c.num_attention_heads * c.v_head_dim});
    write_kv_b(b, c, to, values_.at(from + "self_attn.kv_b_proj.weight"), whole_kv_b);
    if (!c.is_moe_layer(l)) {
      add("ffn_gate.weight", "mlp.gate_proj.weight", {c.intermediate_size, d});
      add("ffn_up.weight", "mlp.up_proj.weight", {c.intermediate_size, d});
      add("ffn_down.weight", "mlp.down_proj.weight", {d, c.intermediate_size});
      return;
    }
    add("ffn_gate_inp.weight", "mlp.gate.weight", {e, d});
    add("exp_probs_b.bias", "mlp.gate.e_score_correction_bias", {e});
    for (const char* kind : {"gate", "up", "down"}) {
      const std::string module = std::string(kind) + "_proj.weight";
      const bool down = kind[0] == 'd';
      add("ffn_" + std::string(kind) + "_shexp.weight", "mlp.shared_experts." + module,
          down ? std::vector<int64_t>{d, f} : std::vector<int64_t>{f, d});
      std::vector<float> all;
      for (int64_t i = 0; i < e; ++i) {
        const auto& one = values_.at(from + "mlp.experts." + std::to_string(i) + "." + module);
        all.insert(all.end(), one.begin(), one.end());
      }
      b.tensor(to + "ffn_" + kind + "_exps.weight",
               down ? std::vector<int64_t>{e, d, f} : std::vector<int64_t>{e, f, d}, kTypeF32,
               bytes_of(all));
    }
  }

  static void write_kv_b(GgufBuilder& b, const ModelConfig& c, const std::string& to,
                         const std::vector<float>& kv_b, bool whole) {
    const int64_t h = c.num_attention_heads, nope = c.qk_nope_head_dim, v = c.v_head_dim;
    const int64_t latent = c.kv_lora_rank;
    if (whole)
      return b.tensor(to + "attn_kv_b.weight", {h * (nope + v), latent}, kTypeF32, bytes_of(kv_b));
    std::vector<float> key, value;
    for (int64_t i = 0; i < h; ++i) {
      const float* head = kv_b.data() + i * (nope + v) * latent;
      for (int64_t k = 0; k < latent; ++k)
        for (int64_t n = 0; n < nope; ++n) key.push_back(head[n * latent + k]);
      value.insert(value.end(), head + nope * latent, head + (nope + v) * latent);
    }
    b.tensor(to + "attn_k_b.weight", {h, latent, nope}, kTypeF32, bytes_of(key));
    b.tensor(to + "attn_v_b.weight", {h, v, latent}, kTypeF32, bytes_of(value));
  }

  fs::path write(const ModelConfig& c, bool whole_kv_b) {
    ModelStorage storage(c, DType::kF32, false);
    initialize(c, storage.weights, 5);
    values_ = all_values(c, storage.weights);
    GgufBuilder b = metadata(c, whole_kv_b);
    const auto add = [&](const char* name, const char* from, const std::vector<int64_t>& shape) {
      if (name != left_out_) b.tensor(name, shape, kTypeF32, bytes_of(values_.at(from)));
    };
    add("token_embd.weight", "model.embed_tokens.weight", {c.vocab_size, c.hidden_size});
    add("output_norm.weight", "model.norm.weight", {c.hidden_size});
    add("output.weight", "lm_head.weight", {c.vocab_size, c.hidden_size});
    for (int64_t l = 0; l < c.num_hidden_layers; ++l) write_layer(b, c, l, whole_kv_b);
    write_text_file(dir_ / "model.gguf", b.build());
    return dir_ / "model.gguf";
  }

  std::string error_of_open_gguf() {
    try {
      StoredModel::open(dir_ / "model.gguf");
    } catch (const Error& e) {
      return e.what();
    }
    return "no error";
  }

  ValuesByName values_;
  std::string left_out_;
  const char* architecture_ = "deepseek2";
};

ModelConfig config_without_mtp() {
  ModelConfig c = small_config();
  c.num_nextn_predict_layers = 0;
  return c;
}

TEST_F(GgufModel, HasTheShapeAndValuesOfItsSource) {
  for (const bool whole_kv_b : {false, true}) {
    const ModelConfig c = config_without_mtp();
    const StoredModel stored = StoredModel::open(write(c, whole_kv_b));
    EXPECT_EQ(stored.config.n_group, c.n_group);
    EXPECT_EQ(stored.config.routed_scaling_factor, c.routed_scaling_factor);
    EXPECT_EQ(stored.config.rms_norm_eps, c.rms_norm_eps);
    EXPECT_EQ(stored.config.v_head_dim, c.v_head_dim);
    EXPECT_EQ(stored.config.qk_nope_head_dim, c.qk_nope_head_dim);
    EXPECT_EQ(all_values(stored.config, stored.weights), values_);
  }
}

TEST_F(GgufModel, ListsWhatDoesNotFit) {
  left_out_ = "output_norm.weight";
  write(config_without_mtp(), false);
  expect_parts(error_of_open_gguf(), {"model.gguf", "tensor output_norm.weight is missing"});
  left_out_ = "expert_used_count";
  write(config_without_mtp(), false);
  expect_parts(error_of_open_gguf(), {"deepseek2.expert_used_count is missing"});
  left_out_ = "";
  architecture_ = "llama";
  write(config_without_mtp(), false);
  expect_parts(error_of_open_gguf(), {"general.architecture = llama: must be deepseek2"});
  dir_ /= "nowhere";
  expect_parts(error_of_open_gguf(), {"nowhere"});
  dir_ = dir_.parent_path();
}

TEST_F(GgufModel, NamesAMissingPart) {
  fs::rename(write(config_without_mtp(), false), dir_ / "m-00001-of-00002.gguf");
  try {
    StoredModel::open(dir_ / "m-00001-of-00002.gguf");
    FAIL() << "opened half a model";
  } catch (const Error& e) {
    expect_parts(e.what(), {"m-00002-of-00002.gguf"});
  }
}

TEST_F(GgufModel, IsKnownByItsFirstBytes) {
  fs::rename(write(config_without_mtp(), false), dir_ / "sha256-0123");
  EXPECT_TRUE(is_gguf(dir_ / "sha256-0123"));
  EXPECT_GT(StoredModel::open(dir_ / "sha256-0123").bytes, 0u);
  EXPECT_FALSE(is_gguf(dir_));
  EXPECT_FALSE(is_gguf(dir_ / "nowhere"));
  EXPECT_TRUE(is_gguf(dir_ / "nowhere.gguf")) << "opening it tells that it is not there";
}

TEST_F(GgufModel, CarriesItsTokenizer) {
  GgufBuilder b;
  b.key("tokenizer.ggml.model", "gpt2");
  b.key("tokenizer.ggml.pre", "deepseek-v3");
  std::vector<std::string> tokens;
  for (int byte = 0; byte < 256; ++byte)
    tokens.push_back(spell_bytes(std::string(1, static_cast<char>(byte))));
  tokens.insert(tokens.end(), {"th", "<end>"});
  std::vector<int32_t> types(256 + 1, GgufVocabulary::kNormal);
  types.push_back(GgufVocabulary::kControl);
  b.texts("tokenizer.ggml.tokens", tokens);
  b.numbers("tokenizer.ggml.token_type", types);
  b.texts("tokenizer.ggml.merges", {"t h"});
  b.key("tokenizer.ggml.eos_token_id", uint32_t{257});
  b.key("tokenizer.chat_template", "{{ x }}");
  write_text_file(dir_ / "t.gguf", b.build());
  const std::optional<Tokenizer> tokenizer = gguf_tokenizer(dir_ / "t.gguf");
  ASSERT_TRUE(tokenizer);
  EXPECT_EQ(tokenizer->encode("the", {true, true}), (std::vector<int32_t>{256, 'e'}));
  EXPECT_EQ(tokenizer->encode("<end>", {true, true}), (std::vector<int32_t>{257}));
  EXPECT_EQ(tokenizer->eos_id(), 257);
  EXPECT_EQ(tokenizer->chat_template(), "{{ x }}");
  EXPECT_FALSE(gguf_tokenizer(write(config_without_mtp(), false)));

  GgufBuilder wrong;
  wrong.key("tokenizer.ggml.model", "gpt2");
  wrong.numbers("tokenizer.ggml.tokens", {1});
  write_text_file(dir_ / "t.gguf", wrong.build());
  try {
    gguf_tokenizer(dir_ / "t.gguf");
    FAIL() << "numbers as tokens";
  } catch (const Error& e) {
    expect_parts(e.what(), {"tokenizer.ggml.tokens", "texts"});
  }
}

}  // namespace
}  // namespace fathom
