#include <fmt/format.h>

#include <functional>
#include <map>
#include <unordered_map>

#include "base/file.h"
#include "base/progress.h"
#include "checkpoint/model_io.h"
#include "checkpoint/mtp_layers.h"
#include "checkpoint/safetensors_writer.h"

namespace fathom {
namespace fs = std::filesystem;
namespace {

// A tensor of a file: which parameter it holds, and which of the tensors of its format.
struct Part {
  ParameterInfo info;
  size_t index = 0;
};

// What goes into the shards, and what into mtp.safetensors; where the values come from.
struct Layout {
  std::vector<TensorSpec> shards, mtp;
  std::unordered_map<std::string, Part> parts;  // by name in the file
};

Layout make_layout(const ModelConfig& config, const WeightFormat& format) {
  Layout layout;
  std::unordered_map<std::string, ParameterInfo> original;
  auto add = [&](const std::string& name, const ParameterInfo& info) {
    const bool apart = is_mtp_name(config, name) && !mtp_in_shards(config);
    size_t index = 0;
    for (TensorSpec& spec : tensors_of(format, info, name)) {
      layout.parts.emplace(spec.name, Part{info, index++});
      (apart ? layout.mtp : layout.shards).push_back(std::move(spec));
    }
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

// Encodes parameters as a writer asks for their tensors. The small ones of a quantized matrix wait
// here for their turn; the large one goes straight to the file.
class Encoder {
 public:
  Encoder(Context& ctx, const WeightFormat& format, const ParameterValues& values,
          const EncodedObserver& observe)
      : ctx_(ctx), format_(format), values_(values), observe_(observe) {}

  Tensor tensor(const Part& part) {
    const auto key = std::pair(part.info.name, part.index);
    if (const auto it = waiting_.find(key); it != waiting_.end()) {
      Tensor t = std::move(it->second);
      waiting_.erase(it);
      return t;
    }
    Tensor values = values_(part.info, value_dtype(format_, part.info));
    EncodedParameter encoded = encode(ctx_, format_, part.info, values);
    if (part.index == 0) {
      if (observe_ && values) observe_(part.info, values, encoded.view);
      for (size_t i = 1; i < encoded.tensors.size(); ++i)
        waiting_.emplace(std::pair(part.info.name, i), std::move(encoded.tensors[i]));
    }
    return std::move(encoded.tensors[part.index]);
  }

 private:
  Context& ctx_;
  const WeightFormat& format_;
  const ParameterValues& values_;
  const EncodedObserver& observe_;
  std::map<std::pair<std::string, size_t>, Tensor> waiting_;
};

void write_configs(const fs::path& directory, const ModelConfig& config,
                   const WeightFormat& format) {
  write_text_file(directory / "generation_config.json", generation_config(config));
  ModelConfig stored = config;
  stored.quantization = format.quantization;
  write_text_file(directory / "config.json", stored.to_json(format.torch_dtype()));
}

}  // namespace

bool mtp_in_shards(const ModelConfig& config) {
  return config.num_hidden_layers == 61 && config.num_nextn_predict_layers == 1;
}

bool is_mtp_name(const ModelConfig& config, const std::string& name) {
  for (int64_t k = 0; k < config.num_nextn_predict_layers; ++k)
    if (name.starts_with(fmt::format("model.layers.{}.", config.num_hidden_layers + k)))
      return true;
  return false;
}

uint64_t write_model(Context& ctx, const fs::path& directory, const ModelConfig& config,
                     const WeightFormat& format, uint64_t max_shard_bytes,
                     const ParameterValues& values, const EncodedObserver& observe) {
  const Layout layout = make_layout(config, format);
  ShardedWriter writer(directory, layout.shards, max_shard_bytes, {kMtpFile, layout.mtp});
  uint64_t total = 0, written = 0;
  for (const TensorSpec& spec : writer.order()) total += spec.bytes();
  Progress progress("writing weights", static_cast<double>(total), "B");
  Encoder encoder(ctx, format, values, observe);
  for (const TensorSpec& spec : writer.order()) {
    writer.write(encoder.tensor(layout.parts.at(spec.name)));
    progress.update(static_cast<double>(written += spec.bytes()));
  }
  writer.finish();
  write_configs(directory, config, format);
  return total;
}

void save_model(Context& ctx, const fs::path& directory, const ModelConfig& config,
                ModelWeights& weights, const WeightFormat& format, uint64_t max_shard_bytes) {
  std::unordered_map<std::string, Parameter> source;
  for_each_parameter(config, weights, [&](const ParameterInfo& info, Parameter& p) {
    source.emplace(info.name, p);
  });
  write_model(ctx, directory, config, format, max_shard_bytes,
              [&](const ParameterInfo& info, DType to) {
                Tensor t = make_tensor(to, info.shape);
                read_parameter(ctx, source.at(info.name), t);
                return t;
              });
}

uint64_t save_random_model(Context& ctx, const fs::path& directory, const ModelConfig& config,
                           const WeightFormat& format, uint64_t seed, uint64_t max_shard_bytes,
                           const InterruptGuard* interrupt) {
  return write_model(ctx, directory, config, format, max_shard_bytes,
                     [&](const ParameterInfo& info, DType to) {
                       if (interrupt) interrupt->throw_if_requested();
                       Tensor t = make_tensor(to, info.shape);
                       initialize_parameter(config, info, t, seed);
                       return t;
                     });
}

void copy_tokenizer(const fs::path& from, const fs::path& directory) {
  fs::path file = from;
  if (fs::is_directory(from)) {
    const bool tiktoken =
        !fs::exists(from / "tokenizer.json") && fs::exists(from / "tiktoken.model");
    file = from / (tiktoken ? "tiktoken.model" : "tokenizer.json");
  }
  const char* name_there = file.extension() == ".model" ? "tiktoken.model" : "tokenizer.json";
  write_text_file(directory / name_there, read_text_file(file));
  for (const char* name : {"tokenizer_config.json", "chat_template.jinja"}) {
    const fs::path beside = file.parent_path() / name;
    if (fs::exists(beside)) write_text_file(directory / name, read_text_file(beside));
  }
}

}  // namespace fathom
