#include "checkpoint/safetensors_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

constexpr const char* kIndexName = "model.safetensors.index.json";

TensorSpec spec_of(const std::string& name, const ConstTensorView& view) {
  return {name, view.dtype, {view.shape.begin(), view.shape.begin() + view.rank}};
}

// A multiple of eight bytes keeps what follows it aligned, whatever its dtype.
bool before(const TensorSpec& a, const TensorSpec& b) {
  const bool whole_a = a.bytes() % 8 == 0, whole_b = b.bytes() % 8 == 0;
  if (whole_a || whole_b) return whole_a && !whole_b;
  return size_of(a.dtype) > size_of(b.dtype);
}

void sort_for_alignment(std::vector<TensorSpec>& tensors, size_t begin, size_t end) {
  std::stable_sort(tensors.begin() + static_cast<ptrdiff_t>(begin),
                   tensors.begin() + static_cast<ptrdiff_t>(end), before);
}

/// Files of an older checkpoint would be loaded together with the new ones.
void check_empty(const fs::path& directory) {
  std::error_code code;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory, code)) {
    const fs::path& path = entry.path();
    if (path.extension() != ".safetensors" && path.filename() != kIndexName) continue;
    throw Error(fmt::format("{} already holds a checkpoint: {}", directory.string(),
                            path.filename().string()),
                "write to another directory, or remove the old checkpoint");
  }
  if (code) {
    throw Error(fmt::format("cannot write to {}: {}", directory.string(), code.message()),
                "check that the directory exists and its rights");
  }
}

void check_names(const std::vector<TensorSpec>& tensors) {
  std::set<std::string_view> names;
  for (const TensorSpec& tensor : tensors) FATHOM_ASSERT(names.insert(tensor.name).second);
}

}  // namespace

ShardedWriter::ShardedWriter(const fs::path& directory, std::vector<TensorSpec> tensors,
                             uint64_t max_shard_bytes, const Apart& apart)
    : directory_(directory), order_(std::move(tensors)) {
  check_empty(directory_);
  plan(max_shard_bytes);
  name_shards();
  add_apart(apart);
  check_names(order_);
  start_shard();
}

ShardedWriter::~ShardedWriter() {
  file_.reset();
  if (finished_) return;
  std::error_code ignored;
  for (const Shard& shard : shards_) fs::remove(shard.path, ignored);
}

void ShardedWriter::plan(uint64_t max_shard_bytes) {
  shards_.push_back({});
  uint64_t bytes = 0;
  for (size_t i = 0; i < order_.size(); ++i) {
    if (bytes > 0 && bytes + order_[i].bytes() > max_shard_bytes) {
      shards_.push_back({.path = {}, .begin = i, .end = i, .in_index = true});
      bytes = 0;
    }
    bytes += order_[i].bytes();
    shards_.back().end = i + 1;
  }
  for (const Shard& shard : shards_) sort_for_alignment(order_, shard.begin, shard.end);
}

void ShardedWriter::add_apart(const Apart& apart) {
  if (apart.tensors.empty()) return;
  const size_t begin = order_.size(), end = begin + apart.tensors.size();
  order_.insert(order_.end(), apart.tensors.begin(), apart.tensors.end());
  sort_for_alignment(order_, begin, end);
  shards_.push_back({directory_ / apart.file_name, begin, end, false});
}

void ShardedWriter::name_shards() {
  if (shards_.size() == 1) {
    shards_[0].path = directory_ / "model.safetensors";
    return;
  }
  for (size_t k = 0; k < shards_.size(); ++k) {
    shards_[k].path =
        directory_ / fmt::format("model-{:05}-of-{:05}.safetensors", k + 1, shards_.size());
  }
}

void ShardedWriter::start_shard() {
  const Shard& shard = shards_[shard_];
  file_.emplace(shard.path);
  file_->write(make_safetensors_header(
      std::span(order_).subspan(shard.begin, shard.end - shard.begin), {{"format", "pt"}}));
}

void ShardedWriter::end_tensor() {
  tensor_written_ = 0;
  ++tensor_;
  if (tensor_ < shards_[shard_].end) return;
  file_->commit();
  file_.reset();
  if (++shard_ < shards_.size()) start_shard();
}

void ShardedWriter::write(ConstTensorView data) {
  FATHOM_ASSERT(tensor_ < order_.size() && tensor_written_ == 0);
  FATHOM_ASSERT(spec_of(order_[tensor_].name, data) == order_[tensor_] && data.contiguous());
  write_bytes(data.data, data.bytes());
}

void ShardedWriter::write_bytes(const void* data, size_t bytes) {
  FATHOM_ASSERT(tensor_ < order_.size());
  const uint64_t size = order_[tensor_].bytes();
  FATHOM_ASSERT(bytes <= size - tensor_written_);
  file_->write(data, bytes);
  tensor_written_ += bytes;
  if (tensor_written_ == size) end_tensor();
}

void ShardedWriter::finish() {
  FATHOM_ASSERT(tensor_ == order_.size() && !finished_);
  if (file_) file_->commit();  // no tensors at all
  file_.reset();
  if (std::count_if(shards_.begin(), shards_.end(), [](const Shard& s) { return s.in_index; }) > 1)
    write_index();
  finished_ = true;
}

void ShardedWriter::write_index() {
  nlohmann::json index;
  uint64_t total = 0;
  for (const Shard& shard : shards_) {
    if (!shard.in_index) continue;
    for (size_t i = shard.begin; i < shard.end; ++i) {
      total += order_[i].bytes();
      index["weight_map"][order_[i].name] = shard.path.filename().string();
    }
  }
  index["metadata"] = {{"total_size", total}};
  write_text_file(directory_ / kIndexName, index.dump(2) + "\n");
}

void write_safetensors(const fs::path& path, std::span<const NamedTensor> tensors,
                       const std::map<std::string, std::string>& metadata) {
  std::vector<const NamedTensor*> order;
  for (const NamedTensor& tensor : tensors) order.push_back(&tensor);
  std::stable_sort(order.begin(), order.end(), [](const NamedTensor* a, const NamedTensor* b) {
    return before(spec_of(a->name, a->data), spec_of(b->name, b->data));
  });
  std::vector<TensorSpec> specs;
  for (const NamedTensor* tensor : order) specs.push_back(spec_of(tensor->name, tensor->data));
  check_names(specs);
  AtomicFile file(path);
  file.write(make_safetensors_header(specs, metadata));
  for (const NamedTensor* tensor : order) {
    FATHOM_ASSERT(tensor->data.contiguous());
    file.write(tensor->data.data, tensor->data.bytes());
  }
  file.commit();
}

}  // namespace fathom
