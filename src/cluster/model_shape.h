#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "cluster/worksheet.h"

namespace fathom::cluster {

/// What of a model its cost depends on: MLA, GQA or MHA; dense or MoE.
struct ModelShape {
  std::string name, source;
  int64_t layers = 0, hidden = 0, vocab = 0, heads = 0;
  /// MLA: the latent's ranks and the head's parts. kv_lora = 0: no MLA.
  int64_t q_lora = 0, kv_lora = 0, rope_dim = 0;
  int64_t qk_dim = 0, v_dim = 0;  ///< per head, nope and rope parts together
  int64_t kv_heads = 0;           ///< GQA and MHA; of no meaning with MLA
  bool attention_bias = false, qk_norm = false;
  int64_t dense_ffn = 0;  ///< width of the dense feed-forward network
  int64_t experts = 0, shared_experts = 0, top_k = 0, expert_ffn = 0;  ///< experts = 0: dense
  int64_t groups = 1, top_groups = 1;                                  ///< node-limited routing
  int64_t first_dense = 0, moe_every = 1;
  bool correction_bias = false;
  int64_t mtp = 0;  ///< MTP modules
  bool tied_embedding = false;

  bool is_mla() const { return kv_lora > 0; }
  bool is_moe() const { return experts > 0; }
  const char* attention_name() const;
  bool is_moe_layer(int64_t layer) const {
    return is_moe() && layer >= first_dense && layer % moe_every == 0;
  }
  int64_t moe_layers() const;
  /// Values that a token adds to the cache of one layer: latent and rope key, or keys and values.
  int64_t cache_width() const;
};

/// A preset of model/config, an entry of share/cluster/models.toml, a config.json (DeepSeek
/// family, or Llama, Mistral, Mixtral, Qwen2, Qwen3, Qwen3-MoE) or a directory that holds one.
/// Throws Error with the nearest name otherwise.
ModelShape model_shape(const std::string& model);
std::vector<std::string> model_names();

/// What-if on the shape: "model.hidden=7000".
void set_model(ModelShape& shape, std::string_view assignment);

/// Weights of a model by what a parallel layout treats differently. Per layer unless said.
struct ShapeCount {
  double attention = 0;         ///< with norms of latents, queries and keys
  double norms = 0;             ///< the layer's two
  double dense_ffn = 0;         ///< of a dense layer
  double expert = 0;            ///< one expert
  double gate = 0;              ///< with its correction bias
  double embedding = 0;         ///< vocab x hidden, the head has as many
  double total = 0;             ///< without MTP
  double active = 0;            ///< of total, without the embedding's look-up
  double mtp_unique = 0;        ///< all MTP modules without shared embedding and head
  double mtp_active = 0;        ///< of mtp_unique, what a token uses
  double active_moe_layer = 0;  ///< what a token uses of an MoE layer
  double moe_layer = 0, dense_layer = 0;
};
ShapeCount count(const ModelShape& shape);

}  // namespace fathom::cluster
