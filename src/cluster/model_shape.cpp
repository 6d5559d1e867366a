#include "cluster/model_shape.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>

#include "base/error.h"
#include "cluster/nearest.h"

namespace fathom::cluster {
namespace {

using Field = int64_t ModelShape::*;

// What --set model.FIELD may change.
const std::map<std::string, Field, std::less<>>& fields() {
  static const std::map<std::string, Field, std::less<>> all = {
      {"layers", &ModelShape::layers},
      {"hidden", &ModelShape::hidden},
      {"vocab", &ModelShape::vocab},
      {"heads", &ModelShape::heads},
      {"q_lora", &ModelShape::q_lora},
      {"kv_lora", &ModelShape::kv_lora},
      {"rope_dim", &ModelShape::rope_dim},
      {"qk_dim", &ModelShape::qk_dim},
      {"v_dim", &ModelShape::v_dim},
      {"kv_heads", &ModelShape::kv_heads},
      {"dense_ffn", &ModelShape::dense_ffn},
      {"experts", &ModelShape::experts},
      {"top_k", &ModelShape::top_k},
      {"shared_experts", &ModelShape::shared_experts},
      {"expert_ffn", &ModelShape::expert_ffn},
      {"first_dense", &ModelShape::first_dense},
      {"groups", &ModelShape::groups},
      {"top_groups", &ModelShape::top_groups},
      {"mtp", &ModelShape::mtp}};
  return all;
}

std::vector<std::string> field_names() {
  std::vector<std::string> names;
  for (const auto& [name, field] : fields()) names.push_back(name);
  return names;
}

double mla_parameters(const ModelShape& s) {
  const int64_t q_out = s.heads * s.qk_dim;
  const int64_t q =
      s.q_lora == 0 ? s.hidden * q_out : s.hidden * s.q_lora + s.q_lora + s.q_lora * q_out;
  const int64_t kv_a = s.hidden * (s.kv_lora + s.rope_dim) + s.kv_lora;
  const int64_t kv_b = s.kv_lora * s.heads * (s.qk_dim - s.rope_dim + s.v_dim);
  return static_cast<double>(q + kv_a + kv_b + s.heads * s.v_dim * s.hidden);
}

double grouped_parameters(const ModelShape& s) {
  const int64_t qkv = s.heads * s.qk_dim + s.kv_heads * (s.qk_dim + s.v_dim);
  const int64_t bias = s.attention_bias ? qkv : 0;
  const int64_t norms = s.qk_norm ? 2 * s.qk_dim : 0;
  return static_cast<double>(s.hidden * qkv + bias + norms + s.heads * s.v_dim * s.hidden);
}

double swiglu(const ModelShape& s, int64_t width) {
  return 3.0 * static_cast<double>(s.hidden * width);
}

void count_layers(const ModelShape& s, ShapeCount& n) {
  n.dense_layer = n.attention + n.norms + n.dense_ffn;
  if (!s.is_moe()) return;
  const double base = n.attention + n.norms + n.gate;
  n.moe_layer = base + static_cast<double>(s.experts + s.shared_experts) * n.expert;
  n.active_moe_layer = base + static_cast<double>(s.top_k + s.shared_experts) * n.expert;
}

void count_mtp(const ModelShape& s, ShapeCount& n) {
  const auto hidden = static_cast<double>(s.hidden);
  const double join = 2 * hidden * hidden + 3 * hidden;  // eh_proj and three norms
  for (int64_t k = 0; k < s.mtp; ++k) {
    const bool moe = s.is_moe_layer(s.layers + k);
    n.mtp_unique += join + (moe ? n.moe_layer : n.dense_layer);
    n.mtp_active += join + (moe ? n.active_moe_layer : n.dense_layer);
  }
}

}  // namespace

const char* ModelShape::attention_name() const {
  return is_mla() ? "MLA" : kv_heads == heads ? "MHA" : "GQA";
}

int64_t ModelShape::moe_layers() const {
  int64_t n = 0;
  for (int64_t i = 0; i < layers; ++i) n += is_moe_layer(i) ? 1 : 0;
  return n;
}

int64_t ModelShape::cache_width() const {
  return is_mla() ? kv_lora + rope_dim : kv_heads * (qk_dim + v_dim);
}

void set_model(ModelShape& shape, std::string_view assignment) {
  constexpr std::string_view kPrefix = "model.";
  const size_t equals = assignment.find('=');
  const std::string_view field = assignment.substr(0, equals).substr(kPrefix.size());
  const auto found = fields().find(field);
  if (found == fields().end())
    throw UsageError(fmt::format("--set {}: a model has no '{}'", assignment, field),
                     choice_hint(field, field_names()));
  const std::string_view text =
      equals == assignment.npos ? std::string_view() : assignment.substr(equals + 1);
  int64_t value = -1;
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failed != std::errc() || end != text.data() + text.size() || value < 0 ||
      value > int64_t{1} << 24)
    throw UsageError(fmt::format("--set {}: '{}' is not a number from 0 to 2^24", assignment, text),
                     "for example --set model.hidden=7000");
  shape.*found->second = value;
}

ShapeCount count(const ModelShape& s) {
  ShapeCount n;
  n.attention = s.is_mla() ? mla_parameters(s) : grouped_parameters(s);
  n.norms = 2.0 * static_cast<double>(s.hidden);
  n.dense_ffn = swiglu(s, s.dense_ffn);
  n.expert = s.is_moe() ? swiglu(s, s.expert_ffn) : 0;
  n.gate = static_cast<double>(s.experts * s.hidden + (s.correction_bias ? s.experts : 0));
  n.embedding = static_cast<double>(s.vocab * s.hidden);
  count_layers(s, n);
  const auto moe = static_cast<double>(s.moe_layers()), all = static_cast<double>(s.layers);
  const double ends = n.embedding + static_cast<double>(s.hidden);  // head and final norm
  n.total =
      ends + moe * n.moe_layer + (all - moe) * n.dense_layer + (s.tied_embedding ? 0 : n.embedding);
  n.active = ends + moe * n.active_moe_layer + (all - moe) * n.dense_layer;
  count_mtp(s, n);
  return n;
}

}  // namespace fathom::cluster
