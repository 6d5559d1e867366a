#include "checkpoint/gguf_file.h"

#include <fmt/format.h>

#include <bit>
#include <cstdio>
#include <cstring>

#include "base/error.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

static_assert(std::endian::native == std::endian::little, "GGUF files are read as they lie");

constexpr uint64_t kDefaultAlignment = 32, kMaxAlignment = uint64_t{1} << 20;
constexpr int64_t kMaxDimension = int64_t{1} << 40;

enum GgufType : uint32_t {
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kString,
  kArray,
  kU64,
  kI64,
  kF64
};

/// What is in a message: control characters and long names would hide the rest.
std::string shown(std::string_view text) {
  std::string out;
  for (const char c : text.substr(0, 60)) out += c >= 0x20 && c < 0x7f ? c : '?';
  return text.size() > 60 ? out + "…" : out;
}

/// Reads values one after another; every read is checked against the end of the file.
class Cursor {
 public:
  Cursor(std::span<const std::byte> file, const std::string& source)
      : file_(file), source_(source) {}

  [[noreturn]] void fail(const std::string& what) const {
    throw Error(fmt::format("{}: {}", source_, what),
                "the file is damaged or was not downloaded whole: get it again");
  }
  size_t position() const { return at_; }
  size_t left() const { return file_.size() - at_; }

  template <class T>
  T read() {
    T value;
    std::memcpy(&value, take(sizeof value), sizeof value);
    return value;
  }
  std::string string() {
    const auto length = read<uint64_t>();
    if (length > left())
      fail(fmt::format("a text of {} bytes at byte {} reaches past the end", length, at_));
    const auto* p = reinterpret_cast<const char*>(take(static_cast<size_t>(length)));
    return {p, static_cast<size_t>(length)};
  }
  const std::byte* take(size_t bytes) {
    if (bytes > left()) fail(fmt::format("ends at byte {} within its header", file_.size()));
    const std::byte* p = file_.data() + at_;
    at_ += bytes;
    return p;
  }

 private:
  std::span<const std::byte> file_;
  const std::string& source_;
  size_t at_ = 0;
};

size_t size_of_type(uint32_t type) {
  switch (type) {
    case kU8:
    case kI8:
    case kBool:
      return 1;
    case kU16:
    case kI16:
      return 2;
    case kU32:
    case kI32:
    case kF32:
      return 4;
    case kU64:
    case kI64:
    case kF64:
      return 8;
    default:
      return 0;
  }
}

/// Passes over an array.
GgufValue skip_array(Cursor& in, const std::string& key) {
  const auto type = in.read<uint32_t>();
  const auto count = in.read<uint64_t>();
  const GgufArray array{count, type, in.position()};
  if (type == kString) {
    if (count > in.left() / sizeof(uint64_t))
      in.fail(fmt::format("array {} claims {} texts", shown(key), count));
    for (uint64_t i = 0; i < count; ++i) in.string();
    return array;
  }
  const size_t size = size_of_type(type);
  if (size == 0) in.fail(fmt::format("array {} has elements of type {}", shown(key), type));
  if (count > in.left() / size)
    in.fail(fmt::format("array {} claims {} elements", shown(key), count));
  in.take(static_cast<size_t>(count) * size);
  return array;
}

GgufValue read_value(Cursor& in, const std::string& key) {
  switch (const auto type = in.read<uint32_t>()) {
    case kU8:
      return int64_t{in.read<uint8_t>()};
    case kI8:
      return int64_t{in.read<int8_t>()};
    case kU16:
      return int64_t{in.read<uint16_t>()};
    case kI16:
      return int64_t{in.read<int16_t>()};
    case kU32:
      return int64_t{in.read<uint32_t>()};
    case kI32:
      return int64_t{in.read<int32_t>()};
    case kU64:
      return static_cast<int64_t>(in.read<uint64_t>());
    case kI64:
      return in.read<int64_t>();
    case kF32:
      return static_cast<double>(in.read<float>());
    case kF64:
      return in.read<double>();
    case kBool:
      return in.read<uint8_t>() != 0;
    case kString:
      return in.string();
    case kArray:
      return skip_array(in, key);
    default:
      in.fail(fmt::format("key {} has a value of unknown type {}", shown(key), type));
  }
}

StorageFormat format_of(Cursor& in, const std::string& name, uint32_t type) {
  switch (type) {
    case 0:
      return StorageFormat::kF32;
    case 1:
      return StorageFormat::kF16;
    case 2:
      return StorageFormat::kQ4_0;
    case 8:
      return StorageFormat::kQ8_0;
    case 12:
      return StorageFormat::kQ4_K;
    case 13:
      return StorageFormat::kQ5_K;
    case 14:
      return StorageFormat::kQ6_K;
    case 30:
      return StorageFormat::kBF16;
    default:
      in.fail(
          fmt::format("tensor {} is of ggml type {}; supported are F32, F16, BF16, Q8_0, Q4_0, "
                      "Q4_K, Q5_K and Q6_K",
                      shown(name), type));
  }
}

GgufTensor read_tensor(Cursor& in) {
  GgufTensor tensor;
  tensor.name = in.string();
  const auto dimensions = in.read<uint32_t>();
  if (dimensions < 1 || dimensions > 4)
    in.fail(fmt::format("tensor {} has {} dimensions", shown(tensor.name), dimensions));
  int64_t elements = 1;
  for (uint32_t d = 0; d < dimensions; ++d) {
    const auto n = in.read<int64_t>();
    if (n < 1 || n > kMaxDimension || __builtin_mul_overflow(elements, n, &elements) ||
        elements > kMaxDimension)
      in.fail(fmt::format("tensor {} has a dimension of {}", shown(tensor.name), n));
    tensor.shape.insert(tensor.shape.begin(), n);  // the file has the innermost first
  }
  tensor.format = format_of(in, tensor.name, in.read<uint32_t>());
  if (tensor.shape.back() % info_of(tensor.format).block != 0)
    in.fail(fmt::format("tensor {} has rows of {} elements, {} comes in blocks of {}",
                        shown(tensor.name), tensor.shape.back(), info_of(tensor.format).name,
                        info_of(tensor.format).block));
  tensor.begin = in.read<uint64_t>();
  return tensor;
}

uint64_t alignment_of(Cursor& in, const std::map<std::string, GgufValue>& metadata) {
  const auto it = metadata.find("general.alignment");
  if (it == metadata.end()) return kDefaultAlignment;
  const auto* value = std::get_if<int64_t>(&it->second);
  if (!value || *value < 8 || static_cast<uint64_t>(*value) > kMaxAlignment ||
      !std::has_single_bit(static_cast<uint64_t>(*value)))
    in.fail("general.alignment is not a power of two from 8");
  return static_cast<uint64_t>(*value);
}

uint64_t aligned(uint64_t n, uint64_t alignment) {
  return (n + alignment - 1) / alignment * alignment;
}

/// Each tensor must begin where the one before it ends, padded; `begin` becomes absolute.
void place_tensors(Cursor& in, std::vector<GgufTensor>& tensors, uint64_t alignment,
                   uint64_t file_bytes) {
  const uint64_t data = aligned(in.position(), alignment);
  uint64_t end = 0;
  for (GgufTensor& t : tensors) {
    if (t.begin != end)
      in.fail(fmt::format("tensor {} begins at {} of the data, not at {}", shown(t.name), t.begin,
                          end));
    if (data + end > file_bytes || t.bytes() > file_bytes - data - end)
      in.fail(fmt::format("tensor {} reaches past the end of the file, which has {} bytes",
                          shown(t.name), file_bytes));
    t.begin = data + end;
    end = aligned(end + t.bytes(), alignment);
  }
}

/// "model-00002-of-00005.gguf" belongs to five files.
struct Split {
  std::string stem;
  unsigned count = 1;
};
Split split_of(const fs::path& path) {
  const std::string name = path.filename().string();
  constexpr size_t kTail = sizeof("-00001-of-00001.gguf") - 1;
  unsigned k = 0, n = 0;
  if (name.size() > kTail &&
      std::sscanf(name.c_str() + name.size() - kTail, "-%5u-of-%5u.gguf", &k, &n) == 2 && n > 0)
    return {name.substr(0, name.size() - kTail), n};
  return {};
}

}  // namespace

uint64_t GgufTensor::bytes() const {
  int64_t rows = 1;
  for (size_t d = 0; d + 1 < shape.size(); ++d) rows *= shape[d];
  return static_cast<uint64_t>(rows * stored_bytes(format, shape.back()));
}

GgufHeader parse_gguf_header(std::span<const std::byte> file, const std::string& source) {
  Cursor in(file, source);
  if (file.size() < 4 || std::memcmp(in.take(4), "GGUF", 4) != 0) in.fail("is not a GGUF file");
  const auto version = in.read<uint32_t>();
  if (version != 2 && version != 3)
    in.fail(fmt::format("is GGUF version {}; 2 and 3 are supported (little-endian)", version));
  const auto tensors = in.read<uint64_t>(), keys = in.read<uint64_t>();
  constexpr uint64_t kLeastTensor = 32, kLeastKey = 13;
  if (keys > in.left() / kLeastKey || tensors > in.left() / kLeastTensor)
    in.fail(fmt::format("claims {} keys and {} tensors, more than fit in it", keys, tensors));
  GgufHeader header;
  for (uint64_t i = 0; i < keys; ++i) {
    const std::string key = in.string();
    if (!header.metadata.emplace(key, read_value(in, key)).second)
      in.fail(fmt::format("key {} occurs twice", shown(key)));
  }
  for (uint64_t i = 0; i < tensors; ++i) header.tensors.push_back(read_tensor(in));
  place_tensors(in, header.tensors, alignment_of(in, header.metadata), file.size());
  return header;
}

std::vector<std::string> gguf_texts(std::span<const std::byte> file, const GgufArray& array,
                                    const std::string& source) {
  Cursor in(file, source);
  if (array.type != kString) in.fail("an array of texts was expected");
  in.take(array.begin);
  std::vector<std::string> texts;
  texts.reserve(array.count);
  for (uint64_t i = 0; i < array.count; ++i) texts.push_back(in.string());
  return texts;
}

std::vector<int32_t> gguf_numbers(std::span<const std::byte> file, const GgufArray& array,
                                  const std::string& source) {
  Cursor in(file, source);
  if (array.type != kI32 && array.type != kU32) in.fail("an array of whole numbers was expected");
  in.take(array.begin);
  std::vector<int32_t> numbers(array.count);
  for (int32_t& n : numbers) n = in.read<int32_t>();
  return numbers;
}

void GgufReader::add(const fs::path& path) {
  files_.emplace_back(path);
  const MappedFile& file = files_.back();
  GgufHeader header = parse_gguf_header({file.data(), file.size()}, path.string());
  if (files_.size() == 1) metadata_ = std::move(header.metadata);
  tensors_.push_back(std::move(header.tensors));
  for (size_t i = 0; i < tensors_.back().size(); ++i) {
    const std::string& name = tensors_.back()[i].name;
    if (!place_of_.emplace(name, std::pair(files_.size() - 1, i)).second)
      throw Error(fmt::format("{}: tensor {} occurs twice", path.string(), shown(name)),
                  "the files mix parts of two models: get them again");
  }
}

GgufReader GgufReader::open(const fs::path& path) {
  GgufReader reader;
  const Split split = split_of(path);
  if (split.count == 1) {
    reader.add(path);
    return reader;
  }
  for (unsigned k = 1; k <= split.count; ++k)
    reader.add(path.parent_path() /
               fmt::format("{}-{:05}-of-{:05}.gguf", split.stem, k, split.count));
  return reader;
}

const GgufTensor* GgufReader::find(const std::string& name) const {
  const auto it = place_of_.find(name);
  return it == place_of_.end() ? nullptr : &tensors_[it->second.first][it->second.second];
}

kernels::GemmInput GgufReader::matrix(const GgufTensor& tensor) const {
  const MappedFile& file = files_[place_of_.at(tensor.name).first];
  const std::byte* data = file.data() + tensor.begin;
  const int64_t cols = tensor.shape.back();
  const auto rows = static_cast<int64_t>(tensor.bytes()) / stored_bytes(tensor.format, cols);
  switch (tensor.format) {
    case StorageFormat::kF32:
      return ConstTensorView(data, DType::kF32, {rows, cols});
    case StorageFormat::kF16:
      return ConstTensorView(data, DType::kF16, {rows, cols});
    case StorageFormat::kBF16:
      return ConstTensorView(data, DType::kBF16, {rows, cols});
    default:
      return kernels::GemmInput::gguf(
          tensor.format,
          ConstTensorView(data, DType::kU8, {rows, stored_bytes(tensor.format, cols)}), cols);
  }
}

std::vector<std::string> GgufReader::names() const {
  std::vector<std::string> names;
  for (const auto& file : tensors_)
    for (const GgufTensor& t : file) names.push_back(t.name);
  return names;
}

uint64_t GgufReader::bytes() const {
  uint64_t total = 0;
  for (const auto& file : tensors_)
    for (const GgufTensor& t : file) total += t.bytes();
  return total;
}

}  // namespace fathom
