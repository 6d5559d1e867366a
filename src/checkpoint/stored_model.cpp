#include <fmt/format.h>

#include <fstream>
#include <unordered_map>

#include "base/error.h"
#include "base/log.h"
#include "checkpoint/generation_config.h"
#include "checkpoint/gguf_config.h"
#include "checkpoint/gguf_model.h"
#include "checkpoint/model_io.h"
#include "checkpoint/mtp_layers.h"
#include "checkpoint/weight_matcher.h"
#include "kernels/elementwise.h"
#include "kernels/stored_weights.h"

namespace fathom {
namespace fs = std::filesystem;
namespace {

// The model's files as transformers would choose them: what the index names, or model.safetensors,
// or every safetensors file; and mtp.safetensors where it stands apart.
std::vector<CheckpointReader> open_readers(const fs::path& directory) {
  const bool index = fs::exists(directory / "model.safetensors.index.json");
  const bool single = !index && fs::exists(directory / "model.safetensors");
  std::vector<CheckpointReader> readers;
  readers.push_back(CheckpointReader::open(single ? directory / "model.safetensors" : directory));
  if ((index || single) && fs::exists(directory / kMtpFile))
    readers.push_back(CheckpointReader::open(directory / kMtpFile));
  return readers;
}

bool holds_mtp(const ModelConfig& config, const std::vector<CheckpointReader>& readers) {
  for (const CheckpointReader& r : readers)
    for (const std::string& name : r.names())
      if (is_mtp_name(config, name)) return true;
  return false;
}

// Fine-tunes and conversions often lose the MTP modules and keep the field that announces them.
void forget_absent_mtp(ModelConfig& config, const std::vector<CheckpointReader>& readers,
                       const fs::path& directory) {
  if (config.num_nextn_predict_layers == 0 || holds_mtp(config, readers)) return;
  log_warning("the checkpoint holds no MTP module, which config.json announces: runs without",
              {{"model", directory.string()}});
  config.num_nextn_predict_layers = 0;
}

// What else a directory without config.json may be.
std::string hint_without_config(const fs::path& directory) {
  if (fs::is_directory(directory / "snapshots"))
    return "in a Hugging Face cache, give the directory below snapshots";
  for (const fs::directory_entry& entry : fs::directory_iterator(directory))
    if (is_gguf(entry.path())) return "give the .gguf file itself, of several the first";
  return "give a directory with config.json and *.safetensors, or a .gguf file";
}

ModelConfig config_in(const fs::path& directory) {
  const fs::path file = directory / "config.json";
  if (fs::is_directory(directory) && !fs::exists(file))
    throw Error(fmt::format("{}: no such file", file.string()), hint_without_config(directory));
  return ModelConfig::from_file(file);
}

}  // namespace

bool is_gguf(const fs::path& path) {
  if (fs::is_directory(path)) return false;
  if (path.extension() == ".gguf") return true;
  char magic[4] = {};  // caches name files by their hash
  std::ifstream(path, std::ios::binary).read(magic, sizeof magic);
  return std::string_view(magic, sizeof magic) == "GGUF";
}

StoredModel StoredModel::open(const fs::path& path, OpenOptions options) {
  if (is_gguf(path)) return open_gguf(path, options);
  if (!fs::is_directory(path))
    throw Error(fmt::format("{} is not a model directory", path.string()),
                "give a directory with config.json and *.safetensors, or a .gguf file");
  return open_directory(path, options);
}

StoredModel StoredModel::open_gguf(const fs::path& path, OpenOptions options) {
  StoredModel model;
  model.gguf_ = GgufReader::open(path);
  model.config = gguf_config(*model.gguf_, path.string());
  bind_gguf(*model.gguf_, model.config, model.weights, options.read_values, path.string(),
            model.owned_);
  model.bytes = model.gguf_->bytes();
  return model;
}

StoredModel StoredModel::open_directory(const fs::path& directory, OpenOptions options) {
  StoredModel model;
  model.config = config_in(directory);
  model.generation_eos_ids = read_generation_eos(directory, model.config);
  model.readers_ = open_readers(directory);
  forget_absent_mtp(model.config, model.readers_, directory);
  WeightMatcher matcher(model.config, model.readers_);
  for_each_parameter(model.config, model.weights,
                     [&](const ParameterInfo& info, Parameter& p) { matcher.take(info, p); });
  if (model.config.tie_word_embeddings) matcher.allow("lm_head.weight");
  for (const auto& [name, original] : duplicate_names(model.config)) matcher.allow(name);
  matcher.report_unknown();
  if (options.read_values) matcher.read_values(model.owned_);
  matcher.throw_problems(directory.string());
  if (model.config.tie_word_embeddings) model.weights.lm_head = model.weights.embed_tokens;
  for (const CheckpointReader& r : model.readers_) model.bytes += r.bytes();
  return model;
}

std::vector<const MappedFile*> StoredModel::files() const {
  std::vector<const MappedFile*> files;
  for (const CheckpointReader& r : readers_)
    for (const SafetensorsFile& f : r.files()) files.push_back(&f.mapping());
  if (gguf_)
    for (const MappedFile& f : gguf_->files()) files.push_back(&f);
  return files;
}

void read_parameter(Context& ctx, const Parameter& p, TensorView values) {
  // A master weight may have a quantized copy beside it: the weight is what counts.
  if (p.weight) return kernels::copy(ctx, p.weight, values);
  kernels::decode_weights(ctx, p.quantized, values);
}

void copy_weights(Context& ctx, const StoredModel& stored, ModelWeights& weights) {
  std::unordered_map<std::string, Parameter> source;
  ModelWeights views = stored.weights;
  for_each_parameter(stored.config, views, [&](const ParameterInfo& info, Parameter& p) {
    source.emplace(info.name, p);
  });
  for_each_parameter(stored.config, weights, [&](const ParameterInfo& info, Parameter& p) {
    read_parameter(ctx, source.at(info.name), p.weight);
  });
}

ModelConfig stored_config(const fs::path& path) {
  if (is_gguf(path)) return gguf_config(GgufReader::open(path), path.string());
  return config_in(path);
}

}  // namespace fathom
