#include "train/append_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>

#include "base/error.h"

namespace fathom::train {

AppendFile::AppendFile(const std::filesystem::path& path) : path_(path) {
  fd_ = open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (fd_ < 0)
    throw_errno(fmt::format("cannot write {}", path.string()),
                "check the rights of the file and its directory");
}

AppendFile::~AppendFile() {
  close(fd_);
}

void AppendFile::append(std::string_view data) {
  while (!data.empty()) {
    const ssize_t n = write(fd_, data.data(), data.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0)
      throw_errno(fmt::format("cannot write {}", path_.string()), "is there space on this disk?");
    data.remove_prefix(static_cast<size_t>(n));
  }
}

}  // namespace fathom::train
