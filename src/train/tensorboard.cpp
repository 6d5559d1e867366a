#include "train/tensorboard.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <chrono>
#include <cstring>

#include "base/file.h"

namespace fathom::train {
namespace {

constexpr std::array<uint32_t, 256> make_crc_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t c = i;
    for (int bit = 0; bit < 8; ++bit) c = (c >> 1) ^ (c & 1 ? 0x82F63B78u : 0);
    table[i] = c;
  }
  return table;
}

template <class T>
std::string bytes_of(T value) {
  static_assert(std::endian::native == std::endian::little, "the formats here are little-endian");
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

std::string varint(uint64_t value) {
  std::string out;
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  return out += static_cast<char>(value);
}

// Protobuf fields: (number << 3 | wire type), then the value.
std::string varint_field(uint32_t number, uint64_t value) {
  return varint(number << 3 | 0) + varint(value);
}
std::string double_field(uint32_t number, double value) {
  return varint(number << 3 | 1) + bytes_of(value);
}
std::string float_field(uint32_t number, float value) {
  return varint(number << 3 | 5) + bytes_of(value);
}
std::string bytes_field(uint32_t number, std::string_view value) {
  return varint(number << 3 | 2) + varint(value.size()) + std::string(value);
}

double now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

/// message Event { double wall_time = 1; int64 step = 2; string file_version = 3;
///                 Summary summary = 5; SessionLog session_log = 7; }
std::string event(int64_t step, std::string_view content) {
  std::string out = double_field(1, now());
  if (step != 0) out += varint_field(2, static_cast<uint64_t>(step));
  return out += content;
}

std::filesystem::path event_path(const std::filesystem::path& directory) {
  make_directories(directory);
  std::array<char, 256> host{};
  gethostname(host.data(), host.size() - 1);
  return directory / fmt::format("events.out.tfevents.{:010}.{}.{}", static_cast<int64_t>(now()),
                                 host.data(), getpid());
}

}  // namespace

uint32_t crc32c(std::string_view data) {
  static constexpr auto kTable = make_crc_table();
  uint32_t c = ~0u;
  for (const char byte : data) c = (c >> 8) ^ kTable[(c ^ static_cast<uint8_t>(byte)) & 0xff];
  return ~c;
}

uint32_t masked_crc32c(std::string_view data) {
  return std::rotr(crc32c(data), 15) + 0xA282EAD8u;
}

TensorBoardWriter::TensorBoardWriter(const std::filesystem::path& directory, int64_t first_step)
    : file_(event_path(directory)) {
  write_event(event(0, bytes_field(3, "brain.Event:2")));
  // message SessionLog { SessionStatus status = 1; } with START = 1.
  if (first_step > 1) write_event(event(first_step, bytes_field(7, varint_field(1, 1))));
}

void TensorBoardWriter::add(int64_t step, std::span<const Scalar> scalars) {
  // message Summary { repeated Value value = 1; }
  // message Value { string tag = 1; float simple_value = 2; }
  std::string summary;
  for (const auto& [tag, value] : scalars)
    summary += bytes_field(1, bytes_field(1, tag) + float_field(2, value));
  write_event(event(step, bytes_field(5, summary)));
}

void TensorBoardWriter::write_event(const std::string& event) {
  const std::string length = bytes_of(uint64_t{event.size()});
  file_.append(length + bytes_of(masked_crc32c(length)) + event + bytes_of(masked_crc32c(event)));
}

}  // namespace fathom::train
