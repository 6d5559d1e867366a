#pragma once

#include <gtest/gtest.h>

#include <map>

#include "base/file.h"
#include "checkpoint/model_io.h"
#include "checkpoint/safetensors_writer.h"
#include "checkpoint/temporary_directory.h"
#include "infer/infer_test.h"

namespace fathom {

/// Every weight by name, as F32.
using ValuesByName = std::map<std::string, std::vector<float>>;
inline ValuesByName all_values(const ModelConfig& config, ModelWeights weights) {
  ThreadPool pool(1);
  Arena arena;
  Context ctx{Device{}, pool, arena};
  ValuesByName all;
  for_each_parameter(config, weights, [&](const ParameterInfo& info, Parameter& p) {
    const Tensor wide = make_tensor(DType::kF32, info.shape);
    read_parameter(ctx, p, wide);
    const auto* v = wide.as<float>();
    all.emplace(info.name, std::vector<float>(v, v + wide.view().elements()));
  });
  return all;
}

class ModelIo : public TemporaryDirectoryTest {
 protected:
  void save(const ModelConfig& config, const WeightFormat& format,
            uint64_t shard_bytes = 1'000'000'000) {
    storage_ = std::make_unique<ModelStorage>(config, DType::kF32, false);
    initialize(config, storage_->weights, 5);
    // Norms and biases other than what a reader might fill in by itself.
    for (BlockWeights& b : storage_->weights.layers) {
      b.input_layernorm.weight.as<float>()[0] = 1.25f;
      if (b.moe && b.moe->e_score_correction_bias)
        b.moe->e_score_correction_bias.weight.as<float>()[1] = 1.0f / 3;
    }
    Context ctx{Device{}, pool_, arena_};
    save_model(ctx, dir_, config, storage_->weights, format, shard_bytes);
  }

  std::string error_of_open() const {
    try {
      StoredModel::open(dir_);
    } catch (const Error& e) {
      return e.what();
    }
    return "no error";
  }

  // The tensors of a file, each as edit(name, view) returns it; an empty view leaves it out.
  template <class Edit>
  void rewrite(const std::string& name, Edit&& edit) const {
    const std::filesystem::path changed = dir_ / "changed";
    {
      const SafetensorsFile file = SafetensorsFile::open(dir_ / name);
      std::vector<NamedTensor> kept;
      for (const TensorInfo& t : file.tensors())
        if (const ConstTensorView view = edit(t.name, file.view(t.name)))
          kept.push_back({t.name, view});
      write_safetensors(changed, kept);
    }
    std::filesystem::rename(changed, dir_ / name);
  }

  ThreadPool pool_{1};
  Arena arena_;
  std::unique_ptr<ModelStorage> storage_;
};

inline void expect_parts(const std::string& text, std::initializer_list<std::string> parts) {
  for (const std::string& part : parts)
    EXPECT_NE(text.find(part), std::string::npos) << part << " in: " << text;
}

}  // namespace fathom
