#pragma once

#include <cstring>
#include <string>
#include <vector>

namespace fathom {

/// The bytes of a GGUF file, version 3, piece by piece.
class GgufBuilder {
 public:
  static constexpr uint32_t kU32 = 4, kI32 = 5, kF32 = 6, kBool = 7, kString = 8, kArray = 9;

  void key(const std::string& name, uint32_t value) { add_key(name, kU32, bytes_of(value)); }
  void key(const std::string& name, float value) { add_key(name, kF32, bytes_of(value)); }
  void key(const std::string& name, bool value) {
    add_key(name, kBool, std::string(1, value ? 1 : 0));
  }
  void key(const std::string& name, const char* value) { add_key(name, kString, text(value)); }
  void texts(const std::string& name, const std::vector<std::string>& values) {
    std::string array = bytes_of(kString) + bytes_of(uint64_t{values.size()});
    for (const std::string& v : values) array += text(v);
    add_key(name, kArray, array);
  }
  void numbers(const std::string& name, const std::vector<int32_t>& values) {
    std::string array = bytes_of(kI32) + bytes_of(uint64_t{values.size()});
    for (const int32_t v : values) array += bytes_of(v);
    add_key(name, kArray, array);
  }
  /// shape row-major; type as ggml numbers them.
  void tensor(const std::string& name, std::vector<int64_t> shape, uint32_t type,
              const std::string& data) {
    infos_ += text(name) + bytes_of(static_cast<uint32_t>(shape.size()));
    for (size_t d = shape.size(); d-- > 0;) infos_ += bytes_of(shape[d]);
    infos_ += bytes_of(type) + bytes_of(uint64_t{data_.size()});
    data_ += data;
    data_.resize((data_.size() + 31) / 32 * 32);
    ++tensors_;
  }
  std::string build() const {
    std::string file = "GGUF" + bytes_of(uint32_t{3}) + bytes_of(tensors_) + bytes_of(keys_);
    file += key_bytes_ + infos_;
    file.resize((file.size() + 31) / 32 * 32);
    return file + data_;
  }

 private:
  template <class T>
  static std::string bytes_of(T value) {
    std::string bytes(sizeof value, 0);
    std::memcpy(bytes.data(), &value, sizeof value);
    return bytes;
  }
  static std::string text(const std::string& s) { return bytes_of(uint64_t{s.size()}) + s; }
  void add_key(const std::string& name, uint32_t type, const std::string& value) {
    key_bytes_ += text(name) + bytes_of(type) + value;
    ++keys_;
  }

  std::string key_bytes_, infos_, data_;
  uint64_t keys_ = 0, tensors_ = 0;
};

}  // namespace fathom
