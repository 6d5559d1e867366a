#include "cluster/flops.h"

#include <fmt/format.h>

namespace fathom::cluster {
namespace {

std::string training_formula(const ShapeCount& n, const ModelShape& s, double context) {
  return fmt::format("3 x 2 x ({:.6g} active weights + {} layers x {} heads x ({} + {}) x {} keys)",
                     n.active, s.layers, s.heads, s.qk_dim, s.v_dim, context);
}

// Of one token at the end of a context of `context` tokens, as in decoding.
void inference_results(const ModelShape& shape, double context, Worksheet& sheet) {
  const ForwardFlops mean = forward_flops(shape, context / 2);
  const ForwardFlops last = forward_flops(shape, context);
  sheet.result("inference_flops_causal", mean.total(), "FLOP",
               fmt::format("forward of a prompt's token over {} keys on average", context / 2));
  sheet.result("inference_flops_non_causal", last.total(), "FLOP",
               fmt::format("forward over {} keys: also a decoded token's", context));
  auto& table =
      sheet.table("forward_per_token", {{"part", ""}, {"causal", "FLOP"}, {"non_causal", "FLOP"}});
  table.rows = {{"linear layers", mean.linear, last.linear},
                {"attention scores and values", mean.attention, last.attention},
                {"output head", mean.head, last.head}};
  if (shape.mtp == 0) return;
  table.rows.push_back({"MTP modules", mtp_forward_flops(shape, context / 2).total(),
                        mtp_forward_flops(shape, context).total()});
}

}  // namespace

double attention_flops(const ModelShape& s, double context) {
  return 2 * context * static_cast<double>(s.heads) * static_cast<double>(s.qk_dim + s.v_dim);
}

ForwardFlops forward_flops(const ModelShape& shape, double mean_context) {
  const ShapeCount n = count(shape);
  return {2 * (n.active - n.embedding),
          static_cast<double>(shape.layers) * attention_flops(shape, mean_context),
          2 * n.embedding};
}

ForwardFlops mtp_forward_flops(const ModelShape& shape, double mean_context) {
  const ShapeCount n = count(shape);
  const auto modules = static_cast<double>(shape.mtp);
  return {2 * n.mtp_active, modules * attention_flops(shape, mean_context),
          modules * 2 * n.embedding};
}

double training_flops(const ModelShape& shape, double seq_len, bool causal, bool with_mtp) {
  const double context = causal ? seq_len / 2 : seq_len;
  const double mtp = with_mtp ? mtp_forward_flops(shape, context).total() : 0;
  return 3 * (forward_flops(shape, context).total() + mtp);
}

double classic_training_flops(const ModelShape& s) {
  const auto layers = static_cast<double>(s.layers), hidden = static_cast<double>(s.hidden);
  return 6 * (12 * layers * hidden * hidden + static_cast<double>(s.vocab) * hidden);
}

double table2_training_flops(const ModelShape& shape, double seq_len) {
  return shape.is_moe() ? training_flops(shape, seq_len, true, false)
                        : classic_training_flops(shape);
}

void plan_flops(const ModelShape& shape, int64_t seq_len, Worksheet& sheet) {
  const ShapeCount n = count(shape);
  const auto context = static_cast<double>(seq_len);
  sheet.fact("model", shape.name);
  sheet.assume("shape of " + shape.name, fmt::format("{} layers", shape.layers), shape.source);
  sheet.assume("sequence", fmt::format("{} tokens", seq_len), "--seq-len");
  sheet.assume("backward", "twice the forward", "matrix products for inputs and weights");
  sheet.result("parameters", n.total, "");
  sheet.result("active_parameters", n.active, "", "without the embedding, which is a look-up");
  sheet.result("training_flops_causal", training_flops(shape, context, true, false), "FLOP",
               training_formula(n, shape, context / 2));
  sheet.result("training_flops_non_causal", training_flops(shape, context, false, false), "FLOP",
               training_formula(n, shape, context));
  if (shape.mtp > 0)
    sheet.result("training_flops_causal_with_mtp", training_flops(shape, context, true, true),
                 "FLOP", "with the MTP modules and their pass through the head");
  if (!shape.is_moe())
    sheet.result("training_flops_classic", classic_training_flops(shape), "FLOP",
                 fmt::format("6 x (12 x {} layers x {}^2 + {} x {}), as ISCA Table 2 counts dense "
                             "models",
                             shape.layers, shape.hidden, shape.vocab, shape.hidden));
  inference_results(shape, context, sheet);
}

void compare_flops(const std::vector<ModelShape>& shapes, int64_t seq_len, Worksheet& sheet) {
  const auto context = static_cast<double>(seq_len);
  sheet.assume("sequence", fmt::format("{} tokens", seq_len), "--seq-len");
  sheet.assume("table2_training_flops",
               "MoE: every active matrix and causal attention; dense: 6 (12 layers hidden^2 + "
               "vocab hidden)",
               "the rules that ISCA Table 2 follows");
  auto& table = sheet.table("models", {{"model", ""},
                                       {"active_parameters", ""},
                                       {"table2_training_flops", "FLOP"},
                                       {"training_flops_causal", "FLOP"},
                                       {"training_flops_non_causal", "FLOP"}});
  for (const ModelShape& shape : shapes) {
    table.rows.push_back({shape.name, count(shape).active, table2_training_flops(shape, context),
                          training_flops(shape, context, true, false),
                          training_flops(shape, context, false, false)});
    sheet.assume("shape of " + shape.name, fmt::format("{} layers", shape.layers), shape.source);
  }
}

}  // namespace fathom::cluster
