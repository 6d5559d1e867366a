#include "checkpoint/safetensors_header.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <string_view>
#include <tuple>

#include "base/error.h"
#include "base/json.h"

namespace fathom {
namespace {

using nlohmann::json;

constexpr size_t kLengthBytes = 8;
constexpr std::array kDTypes = {DType::kF64,  DType::kF32, DType::kF16, DType::kBF16, DType::kE4M3,
                                DType::kE8M0, DType::kI64, DType::kI32, DType::kI8,   DType::kU8};

[[noreturn]] void fail(const std::string& source, const std::string& what) {
  throw Error(fmt::format("{}: {}", source, what),
              "the file is damaged or was not downloaded whole: get it again");
}

/// Checks one tensor's entry; every message names it.
class EntryReader {
 public:
  EntryReader(const std::string& source, const std::string& name, const json& entry)
      : source_(source), name_(name), entry_(entry) {}

  /// begin is counted from the start of the data section, of data_bytes.
  TensorInfo read(uint64_t data_bytes) const {
    if (!entry_.is_object()) fail(fmt::format("its entry is {}, not an object", brief(entry_)));
    for (const auto& item : entry_.items()) {
      if (item.key() != "dtype" && item.key() != "shape" && item.key() != "data_offsets") {
        fail(fmt::format("unknown field {}", brief(json(item.key()))));
      }
    }
    TensorInfo info;
    info.name = name_;
    info.dtype = dtype();
    info.shape = shape(size_of(info.dtype));
    const auto [begin, end] = offsets(data_bytes);
    if (end - begin != info.bytes()) {
      fail(fmt::format("data_offsets [{}, {}] span {} bytes but its dtype and shape need {}", begin,
                       end, end - begin, info.bytes()));
    }
    info.begin = begin;
    return info;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    fathom::fail(source_, fmt::format("tensor {}: {}", brief(json(name_)), what));
  }

  const json& field(const char* name) const {
    const auto it = entry_.find(name);
    if (it == entry_.end()) fail(fmt::format("{} is missing", name));
    return *it;
  }

  DType dtype() const {
    const json& value = field("dtype");
    if (value == "BOOL") return DType::kU8;
    for (const DType dtype : kDTypes) {
      if (value == name_of(dtype)) return dtype;
    }
    throw Error(
        fmt::format("{}: tensor {}: dtype {} is not supported", source_, brief(json(name_)),
                    brief(value)),
        "convert it to one of F64, F32, F16, BF16, F8_E4M3, F8_E8M0, I64, I32, I8, U8, BOOL");
  }

  std::vector<int64_t> shape(size_t element_bytes) const {
    const json& value = field("shape");
    if (!value.is_array()) fail(fmt::format("shape {} is not a list", brief(value)));
    if (value.size() > ConstTensorView::kMaxRank) {
      fail(fmt::format("shape {} has {} dimensions, at most {} are supported", brief(value),
                       value.size(), int{ConstTensorView::kMaxRank}));
    }
    std::vector<int64_t> shape;
    int64_t bytes = static_cast<int64_t>(element_bytes);
    for (const json& n : value) {
      const bool valid = n.is_number_unsigned() && n.get<uint64_t>() <= uint64_t{INT64_MAX};
      if (!valid) fail(fmt::format("shape {} has a size that is not a count", brief(value)));
      shape.push_back(n.get<int64_t>());
      // Sizes of zero must not hide an overflow of the others: views multiply them in any order.
      if (__builtin_mul_overflow(bytes, std::max<int64_t>(shape.back(), 1), &bytes)) {
        fail(fmt::format("shape {} overflows", brief(value)));
      }
    }
    return shape;
  }

  std::pair<uint64_t, uint64_t> offsets(uint64_t data_bytes) const {
    const json& value = field("data_offsets");
    const bool pair = value.is_array() && value.size() == 2 && value[0].is_number_unsigned() &&
                      value[1].is_number_unsigned();
    if (!pair) fail(fmt::format("data_offsets {} are not two byte counts", brief(value)));
    const uint64_t begin = value[0].get<uint64_t>(), end = value[1].get<uint64_t>();
    if (begin > end) fail(fmt::format("data_offsets {} run backwards", brief(value)));
    if (end > data_bytes) {
      fail(fmt::format(
          "data_offsets {} reach past the end of the file, which holds {} bytes of data",
          brief(value), data_bytes));
    }
    return {begin, end};
  }

  const std::string& source_;
  const std::string& name_;
  const json& entry_;
};

std::map<std::string, std::string> read_metadata(const json& object, const std::string& source) {
  if (!object.is_object()) fail(source, "__metadata__ is not an object");
  std::map<std::string, std::string> metadata;
  for (const auto& item : object.items()) {
    if (!item.value().is_string()) {
      fail(source, fmt::format("__metadata__ {} is {}, not a string", brief(json(item.key())),
                               brief(item.value())));
    }
    metadata[item.key()] = item.value().get<std::string>();
  }
  return metadata;
}

std::string_view header_text(std::span<const std::byte> file, const std::string& source) {
  if (file.size() < kLengthBytes) {
    fail(source, fmt::format("has {} bytes, too few for a safetensors file", file.size()));
  }
  uint64_t length = 0;
  for (size_t i = 0; i < kLengthBytes; ++i) length |= std::to_integer<uint64_t>(file[i]) << (8 * i);
  if (length > kMaxHeaderBytes) {
    fail(source, fmt::format("claims a header of {} bytes, more than {}: not a safetensors file",
                             length, kMaxHeaderBytes));
  }
  if (length > file.size() - kLengthBytes) {
    fail(source, fmt::format("claims a header of {} bytes but has only {} after the length", length,
                             file.size() - kLengthBytes));
  }
  return {reinterpret_cast<const char*>(file.data()) + kLengthBytes, static_cast<size_t>(length)};
}

/// In the order of their data, each tensor must begin where the one before it ends.
void check_contiguous(const std::vector<TensorInfo>& tensors, uint64_t data_bytes,
                      const std::string& source) {
  uint64_t end = 0;
  for (const TensorInfo& tensor : tensors) {
    if (tensor.begin != end) {
      fail(source, fmt::format("tensor {}: its data begin at {}, {} the data before it, which end "
                               "at {}",
                               brief(json(tensor.name)), tensor.begin,
                               tensor.begin < end ? "overlapping" : "leaving a hole after", end));
    }
    end += tensor.bytes();
  }
  if (end != data_bytes) {
    fail(source, fmt::format("{} bytes follow the last tensor's data", data_bytes - end));
  }
}

}  // namespace

uint64_t TensorSpec::bytes() const {
  uint64_t bytes = size_of(dtype);
  for (const int64_t n : shape) bytes *= static_cast<uint64_t>(n);
  return bytes;
}

SafetensorsHeader parse_safetensors_header(std::span<const std::byte> file,
                                           const std::string& source) {
  const std::string_view text = header_text(file, source);
  const json document = parse_json(text, source, 8);
  if (!document.is_object()) fail(source, "its header is not a JSON object");
  const uint64_t data_begin = kLengthBytes + text.size(), data_bytes = file.size() - data_begin;
  SafetensorsHeader header;
  for (const auto& item : document.items()) {
    if (item.key() == "__metadata__") {
      header.metadata = read_metadata(item.value(), source);
    } else {
      header.tensors.push_back(EntryReader(source, item.key(), item.value()).read(data_bytes));
    }
  }
  std::sort(header.tensors.begin(), header.tensors.end(),
            [](const TensorInfo& a, const TensorInfo& b) {
              return std::tuple(a.begin, a.bytes()) < std::tuple(b.begin, b.bytes());
            });
  check_contiguous(header.tensors, data_bytes, source);
  for (TensorInfo& tensor : header.tensors) tensor.begin += data_begin;
  return header;
}

std::string make_safetensors_header(std::span<const TensorSpec> tensors,
                                    const std::map<std::string, std::string>& metadata) {
  json document = json::object();
  if (!metadata.empty()) document["__metadata__"] = metadata;
  uint64_t offset = 0;
  for (const TensorSpec& tensor : tensors) {
    document[tensor.name] = {{"dtype", name_of(tensor.dtype)},
                             {"shape", tensor.shape},
                             {"data_offsets", {offset, offset + tensor.bytes()}}};
    offset += tensor.bytes();
  }
  std::string text = document.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  std::string bytes;
  for (size_t i = 0; i < kLengthBytes; ++i) {
    bytes.push_back(static_cast<char>(text.size() >> (8 * i) & 0xff));
  }
  return bytes + text;
}

ConstTensorView view_of(const TensorSpec& tensor, const void* data) {
  FATHOM_ASSERT(tensor.shape.size() <= ConstTensorView::kMaxRank);
  ConstTensorView view;
  view.data = data;
  view.dtype = tensor.dtype;
  view.rank = static_cast<int>(tensor.shape.size());
  int64_t step = 1;
  for (int d = view.rank - 1; d >= 0; --d) {
    view.shape[d] = tensor.shape[d];
    view.stride[d] = step;
    step *= tensor.shape[d];
  }
  return view;
}

}  // namespace fathom
