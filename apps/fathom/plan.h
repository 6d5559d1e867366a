#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "cluster/catalogue.h"
#include "cluster/model_shape.h"
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

/// To standard output: results, tables and assumptions; with `explain` also the formulas. What no
/// table can hold follows in the JSON document: the members of `more`.
void print(const cluster::Worksheet& sheet, const GlobalOptions& global, bool explain,
           const nlohmann::ordered_json* more = nullptr);

struct PlanKvCacheArguments {
  PlanArguments plan;
  double kv_bits = 16, weight_bits = 8, reserve = 0.1;
  int64_t gpus = 8, context = 4096;
};
struct PlanFlopsArguments {
  PlanArguments plan;
  int64_t seq_len = 4096;
};

int run_plan_kv_cache(const GlobalOptions&, const PlanKvCacheArguments&);
int run_plan_flops(const GlobalOptions&, const PlanFlopsArguments&);

}  // namespace fathom::app
