#pragma once

#include <filesystem>
#include <string_view>

namespace fathom::train {

/// A file that grows line by line while the run lasts: what was appended is in the file, not in a
/// buffer of this process. Errors (rights, full disk) throw and name the path.
class AppendFile {
 public:
  explicit AppendFile(const std::filesystem::path& path);
  ~AppendFile();
  AppendFile(const AppendFile&) = delete;
  AppendFile& operator=(const AppendFile&) = delete;

  void append(std::string_view data);
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  int fd_ = -1;
};

}  // namespace fathom::train
