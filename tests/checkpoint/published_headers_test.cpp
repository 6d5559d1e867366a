// A checkpoint of DeepSeek-V3's full size, without its data: the shards are sparse files, so only
// what opening really reads exists.
#include <unistd.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "checkpoint/model_io_fixture.h"

namespace fathom {
namespace {
namespace fs = std::filesystem;

constexpr int kShards = 163;

std::vector<TensorSpec> published_tensors(const ModelConfig& config) {
  const WeightFormat format = DType::kE4M3;
  std::vector<TensorSpec> specs;
  std::map<std::string, ParameterInfo> by_name;
  ModelWeights scratch;
  const auto add = [&](const ParameterInfo& info, const std::string& name) {
    for (TensorSpec& spec : tensors_of(format, info, name)) specs.push_back(std::move(spec));
  };
  for_each_parameter(config, scratch, [&](const ParameterInfo& info, Parameter&) {
    add(info, info.name);
    if (info.name == "model.embed_tokens.weight" || info.name == "lm_head.weight")
      by_name.emplace(info.name, info);
  });
  for (const auto& [name, of] : duplicate_names(config)) add(by_name.at(of), name);
  return specs;
}

void write_sparse_shard(const fs::path& path, std::span<const TensorSpec> tensors) {
  const std::string header = make_safetensors_header(tensors, {{"format", "pt"}});
  uint64_t bytes = header.size();
  for (const TensorSpec& t : tensors) bytes += t.bytes();
  write_text_file(path, header);
  fs::resize_file(path, bytes);
}

/// Every shard but the last has `per_shard` tensors.
void write_sparse_checkpoint(const fs::path& directory, const ModelConfig& config,
                             const std::vector<TensorSpec>& specs) {
  const size_t per_shard = (specs.size() + kShards - 1) / kShards;
  nlohmann::json index;
  for (int k = 0; k < kShards; ++k) {
    const size_t begin = static_cast<size_t>(k) * per_shard;
    const auto part = std::span(specs).subspan(begin, std::min(per_shard, specs.size() - begin));
    const std::string name = "model-" + std::to_string(k + 1) + ".safetensors";
    write_sparse_shard(directory / name, part);
    for (const TensorSpec& t : part) index["weight_map"][t.name] = name;
  }
  write_text_file(directory / "model.safetensors.index.json", index.dump());
  ModelConfig stored = config;
  stored.quantization.emplace();
  write_text_file(directory / "config.json", stored.to_json("bfloat16"));
}

TEST_F(ModelIo, OpensDeepSeekV3ByItsHeaders) {
  const ModelConfig config = ModelConfig::preset("deepseek-v3");
  const std::vector<TensorSpec> specs = published_tensors(config);
  EXPECT_EQ(specs.size(), 91'991u);  // spec B.1, A.8
  try {
    write_sparse_checkpoint(dir_, config, specs);
  } catch (const fs::filesystem_error& e) {
    GTEST_SKIP() << "no sparse files of this size here: " << e.what();
  }
  const StoredModel stored = StoredModel::open(dir_, {.read_values = false});
  EXPECT_EQ(stored.bytes, 688'574'839'360u);  // 641.29 GiB (spec A.8)
  EXPECT_EQ(stored.weights.mtp.size(), 1u);
  EXPECT_TRUE(stored.weights.layers[60].moe->experts[255].down_proj.quantized.values);
}

}  // namespace
}  // namespace fathom
