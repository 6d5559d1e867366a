#include "checkpoint/safetensors.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "base/json.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kIndexName = "model.safetensors.index.json";

[[noreturn]] void fail(const std::string& source, const std::string& what) {
  throw Error(fmt::format("{}: {}", source, what),
              "the checkpoint is incomplete or mixes files of two: get it again");
}

std::vector<fs::path> safetensors_files(const fs::path& directory) {
  std::vector<fs::path> files;
  std::error_code code;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory, code)) {
    if (entry.path().extension() == ".safetensors") files.push_back(entry.path());
  }
  if (code) {
    throw Error(fmt::format("cannot read {}: {}", directory.string(), code.message()),
                "check the path and its rights");
  }
  std::sort(files.begin(), files.end());
  return files;
}

/// Without an index a missing shard would go unnoticed, but "model-00001-of-00003" tells.
void check_shard_names(const std::vector<fs::path>& files) {
  for (const fs::path& file : files) {
    unsigned k = 0, n = 0;
    if (std::sscanf(file.filename().c_str(), "model-%9u-of-%9u.safetensors", &k, &n) != 2) continue;
    if (files.size() != n) {
      fail(file.parent_path().string(),
           fmt::format("holds {} of the {} shards that {} belongs to, and no {}", files.size(), n,
                       file.filename().string(), kIndexName));
    }
  }
}

/// An interrupted download lacks many: all are named at once.
void check_present(const fs::path& directory, const std::set<std::string>& files) {
  constexpr size_t kShown = 8;
  std::vector<std::string> missing;
  for (const std::string& file : files)
    if (!fs::exists(directory / file)) missing.push_back(file);
  if (missing.empty()) return;
  const size_t shown = std::min(missing.size(), kShown);
  throw Error(
      fmt::format(
          "{}: {} of the {} files that {} names are missing: {}{}", directory.string(),
          missing.size(), files.size(), kIndexName,
          fmt::join(missing.begin(), missing.begin() + static_cast<ptrdiff_t>(shown), ", "),
          missing.size() > shown ? fmt::format(" and {} more", missing.size() - shown) : ""),
      "the checkpoint was not downloaded whole: get these files");
}

}  // namespace

SafetensorsFile SafetensorsFile::open(const fs::path& path) {
  SafetensorsFile file;
  file.file_ = MappedFile(path);
  file.header_ = parse_safetensors_header({file.file_.data(), file.file_.size()}, path.string());
  for (const TensorInfo& tensor : file.header_.tensors) file.by_name_[tensor.name] = &tensor;
  return file;
}

const TensorInfo* SafetensorsFile::find(std::string_view name) const {
  const auto it = by_name_.find(name);
  return it == by_name_.end() ? nullptr : it->second;
}

const void* SafetensorsFile::aligned_copy(const TensorInfo& tensor) const {
  const std::lock_guard lock(aligned_->mutex);
  Tensor& copy = aligned_->copies[&tensor];
  if (!copy) {
    copy = Tensor(DType::kU8, {static_cast<int64_t>(tensor.bytes())});
    std::memcpy(copy.view().data, file_.data() + tensor.begin, tensor.bytes());
  }
  return copy.view().data;
}

ConstTensorView SafetensorsFile::view(std::string_view name) const {
  const TensorInfo* tensor = find(name);
  if (!tensor) fail(path().string(), fmt::format("has no tensor '{}'", name));
  const std::byte* data = file_.data() + tensor->begin;
  const bool aligned = reinterpret_cast<uintptr_t>(data) % size_of(tensor->dtype) == 0;
  return view_of(*tensor, aligned ? data : aligned_copy(*tensor));
}

void SafetensorsFile::will_need(std::string_view name, uint64_t at_most) const {
  if (const TensorInfo* tensor = find(name))
    file_.will_need(tensor->begin, std::min<uint64_t>(tensor->bytes(), at_most));
}

std::map<std::string, std::string> parse_safetensors_index(std::string_view text,
                                                           const std::string& source) {
  const json document = parse_json(text, source, 8);
  const auto weight_map = document.is_object() ? document.find("weight_map") : document.end();
  if (weight_map == document.end() || !weight_map->is_object()) {
    fail(source, "has no weight_map object");
  }
  std::map<std::string, std::string> files;
  for (const auto& item : weight_map->items()) {
    const bool is_name = item.value().is_string() &&
                         fs::path(item.value().get<std::string>()).extension() == ".safetensors" &&
                         item.value().get<std::string>().find('/') == std::string::npos;
    if (!is_name) {
      fail(source, fmt::format("weight_map places {} in {}, which is not the name of a "
                               ".safetensors file beside it",
                               brief(json(item.key())), brief(item.value())));
    }
    files[item.key()] = item.value().get<std::string>();
  }
  return files;
}

void CheckpointReader::add(const fs::path& path) {
  files_.push_back(SafetensorsFile::open(path));
  const size_t index = files_.size() - 1;
  for (const TensorInfo& tensor : files_.back().tensors()) {
    const auto [it, added] = file_of_.emplace(tensor.name, index);
    if (!added) {
      fail(path.string(), fmt::format("tensor {} is also in {}", brief(json(tensor.name)),
                                      files_[it->second].path().filename().string()));
    }
    names_.push_back(tensor.name);
  }
}

void CheckpointReader::check_index(const std::map<std::string, std::string>& weight_map) const {
  const std::string source = (path_ / kIndexName).string();
  for (const auto& [name, file] : weight_map) {
    const auto it = file_of_.find(name);
    if (it == file_of_.end() || files_[it->second].path().filename() != file) {
      fail(source,
           fmt::format("places tensor {} in {}, which does not hold it", brief(json(name)), file));
    }
  }
  for (const std::string& name : names_) {
    if (weight_map.contains(name)) continue;
    fail(source, fmt::format("does not list tensor {}, which is in {}", brief(json(name)),
                             files_[file_of_.at(name)].path().filename().string()));
  }
}

CheckpointReader CheckpointReader::open(const fs::path& path) {
  CheckpointReader reader;
  reader.path_ = path;
  if (!fs::is_directory(path)) {
    reader.add(path);
    return reader;
  }
  if (fs::exists(path / kIndexName)) {
    const MappedFile index(path / kIndexName);
    const auto weight_map = parse_safetensors_index(index.text(), index.path().string());
    std::set<std::string> files;
    for (const auto& [name, file] : weight_map) files.insert(file);
    check_present(path, files);
    for (const std::string& file : files) reader.add(path / file);
    reader.check_index(weight_map);
    return reader;
  }
  const std::vector<fs::path> files = safetensors_files(path);
  if (files.empty()) fail(path.string(), "holds no .safetensors file");
  check_shard_names(files);
  for (const fs::path& file : files) reader.add(file);
  return reader;
}

const TensorInfo* CheckpointReader::find(std::string_view name) const {
  const auto it = file_of_.find(std::string(name));
  return it == file_of_.end() ? nullptr : files_[it->second].find(name);
}

ConstTensorView CheckpointReader::get(std::string_view name) const {
  const auto it = file_of_.find(std::string(name));
  if (it == file_of_.end()) fail(path_.string(), fmt::format("has no tensor '{}'", name));
  return files_[it->second].view(name);
}

void CheckpointReader::will_need(std::string_view name, uint64_t at_most) const {
  const auto it = file_of_.find(std::string(name));
  if (it != file_of_.end()) files_[it->second].will_need(name, at_most);
}

uint64_t CheckpointReader::bytes() const {
  uint64_t total = 0;
  for (const SafetensorsFile& file : files_) {
    for (const TensorInfo& tensor : file.tensors()) total += tensor.bytes();
  }
  return total;
}

}  // namespace fathom
