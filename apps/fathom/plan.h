#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "cluster/catalogue.h"
#include "cluster/model_shape.h"
#include "cluster/serving.h"
#include "options.h"

namespace fathom::app {

/// What every `fathom plan` subcommand that knows a model takes.
struct PlanArguments {
  std::vector<std::string> model;     ///< names, config.json files or directories
  std::vector<std::string> hardware;  ///< a name, and files that add hardware
  std::vector<std::string> set;       ///< what-if: h800.nic_gb_s=100, model.hidden=7000
  bool explain = false;
  std::string svg;  ///< file to draw into; empty: none
};

/// The hardware and the model that the arguments name, with --set applied.
class PlanInput {
 public:
  explicit PlanInput(const PlanArguments& arguments);
  /// Exactly one model and one hardware must have been given.
  const cluster::ModelShape& model() const { return models_.front(); }
  const std::vector<cluster::ModelShape>& models() const { return models_; }
  const cluster::Entry& gpu() const;
  bool has_gpu() const { return !gpu_.empty(); }
  /// A --set that the plan never looked at is a UsageError.
  void check_used() const { catalogue_.check_overrides_used(); }

 private:
  void read_hardware(const std::vector<std::string>& hardware);
  void apply(const std::vector<std::string>& set);

  cluster::Catalogue catalogue_ = cluster::Catalogue::built_in();
  std::string gpu_;
  std::vector<cluster::ModelShape> models_;
};

/// An option of dispatch and combine, or of what they lead to, is a UsageError where they send
/// nothing: without experts, or with all of them on each GPU.
void check_sends_to_experts(const char* option, const cluster::ModelShape& shape, int64_t ep);

/// To standard output: results, tables and assumptions; with `explain` also the formulas. What no
/// table can hold follows in the JSON document: the members of `more`.
void print(const cluster::Worksheet& sheet, const GlobalOptions& global, bool explain,
           const nlohmann::ordered_json* more = nullptr);

/// Writes the picture where --svg asks for it.
void draw(const std::string& path, const std::string& svg);

struct PlanKvCacheArguments {
  PlanArguments plan;
  double kv_bits = 16, weight_bits = 8, reserve = 0.1;
  int64_t gpus = 8, context = 4096;
};
struct PlanFlopsArguments {
  PlanArguments plan;
  int64_t seq_len = 4096;
};

/// How training is laid out; names of schedules as in dist/schedule.h.
struct PlanLayoutArguments {
  int64_t gpus = 2048, pp = 16, ep = 64, tp = 1, batch = 15360, micro_batch = 1, seq_len = 4096;
  std::string schedule = "dualpipe", precision = "fp8", recompute = "on";
  double reserve = 0.05;
};
struct PlanMemoryArguments {
  PlanArguments plan;
  PlanLayoutArguments layout;
};
struct PlanTrainArguments {
  PlanArguments plan;
  PlanLayoutArguments layout;
  std::string phases;  ///< "1F=1.13,1B=1.99,1W=0.48,1F1B=13.95"; empty: the profile
  std::optional<double> expert_imbalance;
  double tokens = 14.8e12, other_gpu_hours = 0;
};
struct PlanSearchArguments {
  PlanArguments plan;
  PlanLayoutArguments layout;  ///< of it what a search does not vary
  std::vector<int64_t> gpus = {2048};
  std::vector<std::string> schedules;  ///< empty: all
  std::optional<double> expert_imbalance;
  int64_t max_tp = 8;
  double tokens = 14.8e12;
};
/// Of dispatch and combine; what is not given is as cluster/serving.h says.
struct PlanExchangeArguments {
  std::optional<std::string> overlap;
  std::optional<double> dispatch_bytes, combine_bytes, expert_imbalance;
};
struct PlanDecodeArguments {
  PlanArguments plan;
  int64_t ep = 144, redundant = 32, context = 4989;
  PlanExchangeArguments exchange;
  std::optional<int64_t> batch;
  std::optional<double> user_tokens_per_s;
  std::string fabric = "nic";
  double kv_bits = 16, mtp_acceptance = 0;
  bool network_limit = false;
  int64_t tokens = 32;
};
struct PlanPrefillArguments {
  PlanArguments plan;
  int64_t ep = 32, redundant = 32, tokens = 4096, prompt = 4989;
  PlanExchangeArguments exchange;
  double cache_hit = 0, length_spread = 1;
  std::optional<double> decode_tokens_per_s_node;
  std::optional<int64_t> output_tokens;
};

int run_plan_kv_cache(const GlobalOptions&, const PlanKvCacheArguments&);
int run_plan_flops(const GlobalOptions&, const PlanFlopsArguments&);
int run_plan_memory(const GlobalOptions&, const PlanMemoryArguments&);
int run_plan_train(const GlobalOptions&, const PlanTrainArguments&);
int run_plan_search(const GlobalOptions&, const PlanSearchArguments&);
int run_plan_decode(const GlobalOptions&, const PlanDecodeArguments&);
int run_plan_prefill(const GlobalOptions&, const PlanPrefillArguments&);

}  // namespace fathom::app
