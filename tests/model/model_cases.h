#pragma once

#include <algorithm>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/file.h"
#include "checkpoint/model_io.h"
#include "model/transformer.h"

namespace fathom {

/// One directory of tests/fixtures/model, as its README describes it, with its weights in memory
/// ready for gradients.
class GoldenModel {
 public:
  explicit GoldenModel(const std::string& name)
      : directory_(std::filesystem::path(FATHOM_SOURCE_DIR) / "tests/fixtures/model" / name),
        stored_(StoredModel::open(directory_)),
        expected_(SafetensorsFile::open(directory_ / "expected.safetensors")),
        ids_(nlohmann::json::parse(read_text_file(directory_ / "ids.json")).at("ids")),
        storage_(stored_.config, DType::kF32, true) {
    ThreadPool pool(1);
    Arena arena;
    Context ctx{Device{}, pool, arena};
    copy_weights(ctx, stored_, storage_.weights);
    model_ = std::make_unique<Transformer>(stored_.config, storage_.weights,
                                           static_cast<int64_t>(ids_.size()));
  }

  static std::vector<std::string> names() {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(
             std::filesystem::path(FATHOM_SOURCE_DIR) / "tests/fixtures/model"))
      if (entry.is_directory()) names.push_back(entry.path().filename());
    std::sort(names.begin(), names.end());
    return names;
  }

  const ModelConfig& config() const { return stored_.config; }
  const Transformer& model() const { return *model_; }
  ModelWeights& weights() { return storage_.weights; }
  const std::vector<int32_t>& ids() const { return ids_; }

  bool expects(const std::string& tensor) const { return expected_.find(tensor) != nullptr; }
  std::vector<float> expected(const std::string& tensor) const {
    const ConstTensorView view = expected_.view(tensor);
    return {view.as<float>(), view.as<float>() + view.elements()};
  }
  /// The names of expected tensors that begin with prefix, without it.
  std::vector<std::string> expected_names(const std::string& prefix) const {
    std::vector<std::string> names;
    for (const TensorInfo& t : expected_.tensors())
      if (t.name.starts_with(prefix)) names.push_back(t.name.substr(prefix.size()));
    return names;
  }

 private:
  std::filesystem::path directory_;
  StoredModel stored_;
  SafetensorsFile expected_;
  std::vector<int32_t> ids_;
  ModelStorage storage_;
  std::unique_ptr<Transformer> model_;
};

}  // namespace fathom
