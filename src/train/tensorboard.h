#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "train/append_file.h"

namespace fathom::train {

/// A value's tag and the value.
using Scalar = std::pair<std::string_view, float>;

/// Appends scalars to a TensorBoard event file, events.out.tfevents.<time>.<host>.<pid>: TFRecord
/// framing (length and data each with a masked CRC-32C) around Event messages in protobuf's wire
/// format. Each event is flushed to the file at once.
class TensorBoardWriter {
 public:
  /// first_step > 1: a resumed run. TensorBoard then forgets what earlier event files of this
  /// directory say from that step on.
  explicit TensorBoardWriter(const std::filesystem::path& directory, int64_t first_step = 1);

  void add(int64_t step, std::span<const Scalar> scalars);
  const std::filesystem::path& path() const { return file_.path(); }

 private:
  void write_event(const std::string& event);

  AppendFile file_;
};

/// CRC-32C (Castagnoli), and as TFRecord masks it: rotated right by 15 bits plus a constant.
uint32_t crc32c(std::string_view data);
uint32_t masked_crc32c(std::string_view data);

}  // namespace fathom::train
