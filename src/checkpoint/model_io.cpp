#include "checkpoint/model_io.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <unordered_map>
#include <unordered_set>

#include "base/file.h"
#include "base/progress.h"
#include "checkpoint/safetensors_writer.h"
#include "kernels/elementwise.h"

namespace fathom {
namespace fs = std::filesystem;
namespace {

constexpr const char* kMtpFile = "mtp.safetensors";
constexpr size_t kMaxProblemsShown = 8;

bool mtp_in_shards(const ModelConfig& config) {
  return config.num_hidden_layers == 61 && config.num_nextn_predict_layers == 1;
}

bool is_mtp_name(const ModelConfig& config, const std::string& name) {
  for (int64_t k = 0; k < config.num_nextn_predict_layers; ++k)
    if (name.starts_with(fmt::format("model.layers.{}.", config.num_hidden_layers + k)))
      return true;
  return false;
}

std::string shape_text(const std::vector<int64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

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

// Fits what the files hold to what the architecture asks for, and collects every mismatch.
class Matcher {
 public:
  Matcher(const std::vector<CheckpointReader>& readers) : readers_(readers) {}

  void take(const ParameterInfo& info, Parameter& p) {
    expected_.insert(info.name);
    const CheckpointReader* reader = reader_of(info.name);
    if (!reader) return problem("tensor {} is missing", info.name);
    const TensorInfo& t = *reader->find(info.name);
    if (t.shape != info.shape)
      return problem("tensor {} has shape {}, config.json asks for {}", info.name,
                     shape_text(t.shape), shape_text(info.shape));
    const bool wants_f32 = info.kind == ParameterKind::kCorrectionBias;
    if (t.dtype != DType::kF32 && (wants_f32 || t.dtype != DType::kBF16))
      return problem("tensor {} is {}, which this model cannot use ({} is needed)", info.name,
                     name_of(t.dtype), wants_f32 ? "F32" : "F32 or BF16");
    // A mapped file is read-only; inference never writes to weights.
    const ConstTensorView view = reader->get(info.name);
    p.weight.data = const_cast<void*>(view.data);
    p.weight.dtype = view.dtype;
    p.weight.rank = view.rank;
    p.weight.shape = view.shape;
    p.weight.stride = view.stride;
  }

  void allow(const std::string& name) { expected_.insert(name); }

  void report_unknown() {
    for (const CheckpointReader& r : readers_)
      for (const std::string& name : r.names())
        if (!expected_.count(name)) problem("tensor {} is not part of the model", name);
  }

  void throw_problems(const fs::path& directory) const {
    if (problems_.empty()) return;
    std::string text = fmt::format(
        "{}: {} of the weights do not fit config.json:", directory.string(), problems_.size());
    for (size_t i = 0; i < std::min(problems_.size(), kMaxProblemsShown); ++i)
      text += fmt::format("{} {}", i ? ";" : "", problems_[i]);
    if (problems_.size() > kMaxProblemsShown)
      text += fmt::format("; and {} more", problems_.size() - kMaxProblemsShown);
    throw Error(text, "check that config.json and the safetensors files are of the same model");
  }

 private:
  template <class... Args>
  void problem(fmt::format_string<Args...> text, Args&&... args) {
    problems_.push_back(fmt::format(text, std::forward<Args>(args)...));
  }
  const CheckpointReader* reader_of(const std::string& name) const {
    for (const CheckpointReader& r : readers_)
      if (r.contains(name)) return &r;
    return nullptr;
  }

  const std::vector<CheckpointReader>& readers_;
  std::unordered_set<std::string> expected_;
  std::vector<std::string> problems_;
};

// What goes into the shards, and what into mtp.safetensors: specs, and where the values come from.
struct Layout {
  std::vector<TensorSpec> shards, mtp;
  std::unordered_map<std::string, ParameterInfo> source;  // by name in the file
};

Layout make_layout(const ModelConfig& config, DType dtype) {
  Layout layout;
  std::unordered_map<std::string, ParameterInfo> original;
  auto add = [&](const std::string& name, const ParameterInfo& info) {
    const bool bias = info.kind == ParameterKind::kCorrectionBias;
    const bool apart = is_mtp_name(config, name) && !mtp_in_shards(config);
    (apart ? layout.mtp : layout.shards).push_back({name, bias ? DType::kF32 : dtype, info.shape});
    layout.source.emplace(name, info);
  };
  ModelWeights scratch;
  for_each_parameter(config, scratch, [&](const ParameterInfo& info, Parameter&) {
    add(info.name, info);
    original.emplace(info.name, info);
  });
  for (const auto& [name, of] : duplicate_names(config)) add(name, original.at(of));
  return layout;
}

// One id, or a list when several end a text.
std::string eos_text(const ModelConfig& config) {
  std::string text = fmt::to_string(*config.eos_token_id);
  if (config.more_eos_token_ids.empty()) return text;
  for (const int64_t id : config.more_eos_token_ids) text += fmt::format(", {}", id);
  return "[" + text + "]";
}

std::string generation_config(const ModelConfig& config) {
  std::string text = "{\n  \"_from_model_config\": true";
  if (config.bos_token_id) text += fmt::format(",\n  \"bos_token_id\": {}", *config.bos_token_id);
  if (config.eos_token_id) text += ",\n  \"eos_token_id\": " + eos_text(config);
  return text + "\n}\n";
}

// Writes all files of a model; value(info, dtype) gives each tensor in turn.
uint64_t write_model(const fs::path& directory, const ModelConfig& config, DType dtype,
                     uint64_t max_shard_bytes,
                     const std::function<Tensor(const ParameterInfo&, DType)>& value) {
  const Layout layout = make_layout(config, dtype);
  uint64_t total = 0, written = 0;
  for (const auto* specs : {&layout.shards, &layout.mtp})
    for (const TensorSpec& spec : *specs) total += spec.bytes();
  Progress progress("writing weights", static_cast<double>(total), "B");
  auto next = [&](const TensorSpec& spec) {
    written += spec.bytes();
    progress.update(static_cast<double>(written));
    return value(layout.source.at(spec.name), spec.dtype);
  };
  ShardedWriter writer(directory, layout.shards, max_shard_bytes);
  for (const TensorSpec& spec : writer.order()) writer.write(next(spec));
  writer.finish();
  if (!layout.mtp.empty()) {
    std::vector<Tensor> tensors;
    std::vector<NamedTensor> named;
    for (const TensorSpec& spec : layout.mtp) {
      tensors.push_back(next(spec));
      named.push_back({spec.name, tensors.back()});
    }
    write_safetensors(directory / kMtpFile, named);
  }
  write_text_file(directory / "generation_config.json", generation_config(config));
  ModelConfig stored = config;
  stored.quantization.reset();
  write_text_file(directory / "config.json",
                  stored.to_json(dtype == DType::kF32 ? "float32" : "bfloat16"));
  return total;
}

Tensor make_tensor(DType dtype, const std::vector<int64_t>& shape) {
  return shape.size() == 1 ? Tensor(dtype, {shape[0]}) : Tensor(dtype, {shape[0], shape[1]});
}

}  // namespace

StoredModel StoredModel::open(const fs::path& directory) {
  if (!fs::is_directory(directory))
    throw Error(fmt::format("{} is not a model directory", directory.string()),
                "give a directory with config.json and *.safetensors");
  StoredModel model;
  model.config = ModelConfig::from_file(directory / "config.json");
  model.readers_ = open_readers(directory);
  Matcher matcher(model.readers_);
  for_each_parameter(model.config, model.weights,
                     [&](const ParameterInfo& info, Parameter& p) { matcher.take(info, p); });
  if (model.config.tie_word_embeddings) {
    model.weights.lm_head = model.weights.embed_tokens;
    matcher.allow("lm_head.weight");
  }
  for (const auto& [name, original] : duplicate_names(model.config)) matcher.allow(name);
  matcher.report_unknown();
  matcher.throw_problems(directory);
  for (const CheckpointReader& r : model.readers_) model.bytes += r.bytes();
  return model;
}

void copy_weights(Context& ctx, const StoredModel& stored, ModelWeights& weights) {
  std::unordered_map<std::string, TensorView> source;
  ModelWeights views = stored.weights;
  for_each_parameter(stored.config, views, [&](const ParameterInfo& info, Parameter& p) {
    source.emplace(info.name, p.weight);
  });
  for_each_parameter(stored.config, weights, [&](const ParameterInfo& info, Parameter& p) {
    kernels::copy(ctx, source.at(info.name), p.weight);
  });
}

void save_model(Context& ctx, const fs::path& directory, const ModelConfig& config,
                ModelWeights& weights, DType dtype, uint64_t max_shard_bytes) {
  std::unordered_map<std::string, TensorView> source;
  for_each_parameter(config, weights, [&](const ParameterInfo& info, Parameter& p) {
    source.emplace(info.name, p.weight);
  });
  write_model(directory, config, dtype, max_shard_bytes, [&](const ParameterInfo& info, DType to) {
    Tensor t = make_tensor(to, info.shape);
    kernels::copy(ctx, source.at(info.name), t);
    return t;
  });
}

uint64_t save_random_model(const fs::path& directory, const ModelConfig& config, DType dtype,
                           uint64_t seed, uint64_t max_shard_bytes) {
  return write_model(directory, config, dtype, max_shard_bytes,
                     [&](const ParameterInfo& info, DType to) {
                       Tensor t = make_tensor(to, info.shape);
                       initialize_parameter(config, info, t, seed);
                       return t;
                     });
}

void copy_tokenizer(const fs::path& from, const fs::path& directory) {
  const fs::path file = fs::is_directory(from) ? from / "tokenizer.json" : from;
  write_text_file(directory / "tokenizer.json", read_text_file(file));
  for (const char* name : {"tokenizer_config.json", "chat_template.jinja"}) {
    const fs::path beside = file.parent_path() / name;
    if (fs::exists(beside)) write_text_file(directory / name, read_text_file(beside));
  }
}

}  // namespace fathom
