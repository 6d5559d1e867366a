#include "train/run_state.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "checkpoint/atomic_directory.h"
#include "checkpoint/model_io.h"
#include "checkpoint/safetensors_writer.h"

namespace fathom::train {
namespace fs = std::filesystem;
namespace {

using Json = nlohmann::json;

constexpr const char* kStateDirectory = "training_state";
constexpr const char* kMaster = "master_weights.safetensors";
constexpr const char* kOptimizer = "optimizer.safetensors";
constexpr const char* kState = "state.json";

std::string to_text(const RunState& s, int64_t optimizer_steps) {
  Json j;
  j["step"] = s.step;
  j["tokens"] = s.tokens;
  j["seconds"] = s.seconds;
  j["loss"] = s.loss;
  j["valid_loss"] = s.valid_loss ? Json(*s.valid_loss) : Json(nullptr);
  j["optimizer_steps"] = optimizer_steps;
  j["spike"] = {{"mean", s.spike.mean},
                {"variance", s.spike.variance},
                {"seen", s.spike.seen},
                {"in_a_row", s.spike.in_a_row}};
  j["config"] = s.config_toml;
  return j.dump(2) + "\n";
}

RunState from_text(const std::string& text, const std::string& source, int64_t& optimizer_steps) {
  const Json j = parse_json(text, source);
  try {
    RunState s;
    s.step = j.at("step");
    s.tokens = j.at("tokens");
    s.seconds = j.at("seconds");
    s.loss = j.at("loss");
    if (!j.at("valid_loss").is_null()) s.valid_loss = j.at("valid_loss").get<double>();
    optimizer_steps = j.at("optimizer_steps");
    const Json& spike = j.at("spike");
    s.spike = {spike.at("mean"), spike.at("variance"), spike.at("seen"), spike.at("in_a_row")};
    s.config_toml = j.at("config");
    return s;
  } catch (const Json::exception& e) {
    throw Error(fmt::format("{}: {}", source, e.what()), "resume from an older checkpoint");
  }
}

std::vector<NamedTensor> parameter_list(const ModelConfig& model, ModelWeights& weights) {
  std::vector<NamedTensor> list;
  for_each_parameter(model, weights, [&](const ParameterInfo& info, Parameter& p) {
    list.push_back({info.name, p.weight});
  });
  return list;
}

// Copies a stored tensor into memory of the same dtype and shape.
void restore(const SafetensorsFile& file, const std::string& name, const TensorView& into) {
  const ConstTensorView stored = file.view(name);
  if (stored.dtype != into.dtype || stored.bytes() != into.bytes())
    throw Error(fmt::format("{}: tensor {} is {}, this run needs {}", file.path().string(), name,
                            describe(stored), describe(into)),
                "resume with the configuration that the run was started with");
  std::memcpy(into.data, stored.data, stored.bytes());
}

void check_same_model(const fs::path& directory, const ModelConfig& model) {
  const ModelConfig stored = ModelConfig::from_file(directory / "config.json");
  if (stored.to_json("float32") != model.to_json("float32"))
    throw Error(fmt::format("{}: the checkpoint's model is not the run's", directory.string()),
                "resume with the model that the run was started with");
}

int64_t step_of(const fs::path& path) {
  const std::string name = path.filename().string();
  constexpr std::string_view kPrefix = "step-";
  int64_t step = -1;
  if (!name.starts_with(kPrefix)) return -1;
  const char* end = name.data() + name.size();
  const auto [parsed, error] = std::from_chars(name.data() + kPrefix.size(), end, step);
  return error == std::errc() && parsed == end ? step : -1;
}

}  // namespace

DType storage_dtype(Precision precision) {
  return precision == Precision::kFp32 ? DType::kF32 : DType::kBF16;
}

void save_checkpoint(Context& ctx, const fs::path& directory, const ModelConfig& model,
                     ModelWeights& weights, const Optimizer& optimizer, const RunState& state,
                     const fs::path& tokenizer, Precision precision) {
  AtomicDirectory out(directory);
  copy_tokenizer(tokenizer, out.path());
  save_model(ctx, out.path(), model, weights, storage_dtype(precision));
  const fs::path training = out.path() / kStateDirectory;
  make_directories(training);
  write_safetensors(training / kMaster, parameter_list(model, weights));
  std::vector<NamedTensor> moments;
  optimizer.for_each_state([&](const std::string& name, const TensorView& t) {
    moments.push_back({name, t});
  });
  write_safetensors(training / kOptimizer, moments);
  write_text_file(training / kState, to_text(state, optimizer.steps_taken()));
  out.commit();
}

RunState load_checkpoint(const fs::path& directory, const ModelConfig& model, ModelWeights& weights,
                         Optimizer& optimizer) {
  check_same_model(directory, model);
  const fs::path training = directory / kStateDirectory;
  const SafetensorsFile master = SafetensorsFile::open(training / kMaster);
  for_each_parameter(model, weights, [&](const ParameterInfo& info, Parameter& p) {
    restore(master, info.name, p.weight);
  });
  const SafetensorsFile moments = SafetensorsFile::open(training / kOptimizer);
  optimizer.for_each_state(
      [&](const std::string& name, const TensorView& t) { restore(moments, name, t); });
  int64_t optimizer_steps = 0;
  const fs::path state_path = training / kState;
  const RunState state =
      from_text(read_text_file(state_path), state_path.string(), optimizer_steps);
  optimizer.set_steps_taken(optimizer_steps);
  return state;
}

std::vector<fs::path> list_checkpoints(const fs::path& checkpoints) {
  std::vector<fs::path> found;
  if (!fs::is_directory(checkpoints)) return found;
  for (const fs::directory_entry& entry : fs::directory_iterator(checkpoints))
    if (entry.is_directory() && step_of(entry.path()) >= 0) found.push_back(entry.path());
  std::sort(found.begin(), found.end(),
            [](const fs::path& a, const fs::path& b) { return step_of(a) > step_of(b); });
  return found;
}

void clean_checkpoints(const fs::path& checkpoints) {
  std::set<std::string> names;  // collected first: cleaning changes the directory
  for (const fs::directory_entry& entry : fs::directory_iterator(checkpoints)) {
    const std::string name = entry.path().filename().string();
    if (const size_t dot = name.find('.'); dot != std::string::npos)
      names.insert(name.substr(0, dot));
  }
  for (const std::string& name : names) clean_leftovers(checkpoints / name);
}

std::optional<fs::path> newest_whole(const std::vector<fs::path>& newest_first) {
  for (const fs::path& path : newest_first) {
    try {
      verify_directory(path);
      return path;
    } catch (const Error& e) {
      log_warning("passing over a damaged checkpoint", {{"reason", e.what()}});
    }
  }
  if (newest_first.empty()) return std::nullopt;
  throw Error(fmt::format("no checkpoint in {} is whole, {} are damaged",
                          newest_first.back().parent_path().string(), newest_first.size()),
              "remove them to start the run anew");
}

}  // namespace fathom::train
