#include <fmt/format.h>

#include "base/error.h"
#include "plan.h"

namespace fathom::app {
namespace {

bool is_file(const std::string& hardware) {
  return hardware.ends_with(".toml") || hardware.ends_with(".json");
}

}  // namespace

PlanInput::PlanInput(const PlanArguments& arguments) {
  read_hardware(arguments.hardware);
  for (const std::string& model : arguments.model) models_.push_back(cluster::model_shape(model));
  apply(arguments.set);
}

// Files only add to the catalogue; where no name chooses, a file's only entry is meant.
void PlanInput::read_hardware(const std::vector<std::string>& hardware) {
  std::vector<std::string> added;
  for (const std::string& h : hardware)
    if (is_file(h))
      for (std::string& id : catalogue_.add_file(h)) added.push_back(std::move(id));
  for (const std::string& h : hardware) {
    if (is_file(h)) continue;
    if (!gpu_.empty())
      throw UsageError("--hardware names both '" + gpu_ + "' and '" + h + "'", "name one");
    gpu_ = catalogue_.gpu(h).id();
  }
  if (!gpu_.empty() || hardware.empty()) return;
  if (added.size() != 1)
    throw UsageError("--hardware: the files do not say which hardware is meant",
                     "name it too: --hardware FILE.toml --hardware NAME");
  gpu_ = added.front();
}

void PlanInput::apply(const std::vector<std::string>& set) {
  for (const std::string& assignment : set) {
    if (!assignment.starts_with("model.")) {
      catalogue_.set(assignment);
      continue;
    }
    for (cluster::ModelShape& shape : models_) set_model(shape, assignment);
  }
}

const cluster::Entry& PlanInput::gpu() const {
  if (gpu_.empty()) throw UsageError("no hardware is given", "add --hardware h800");
  return catalogue_.gpu(gpu_);
}

void check_sends_to_experts(const char* option, const cluster::ModelShape& shape, int64_t ep) {
  if (shape.is_moe() && ep > 1) return;
  throw UsageError(fmt::format("{} has no influence: {} sends nothing to experts", option,
                               shape.is_moe() ? "EP 1" : shape.name),
                   "leave it out");
}

}  // namespace fathom::app
