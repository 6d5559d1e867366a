#include "base/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <span>
#include <utility>

#include "base/error.h"

namespace fathom {
namespace {

const char* hint_for_errno() {
  switch (errno) {
    case ENOENT:
      return "check the path";
    case EACCES:
    case EROFS:
    case EPERM:
      return "check the rights of the file and its directory";
    case ENOSPC:
    case EDQUOT:
      return "free space on this disk, or write elsewhere";
    default:
      return "";
  }
}

[[noreturn]] void fail(const char* verb, const std::filesystem::path& path) {
  throw_errno(fmt::format("cannot {} {}", verb, path.string()), hint_for_errno());
}

/// All that can be read, in memory mapped as a file would be.
std::span<const std::byte> read_to_end(int fd, const std::filesystem::path& path) {
  std::string text;
  char buffer[1 << 16];
  for (ssize_t n = 0; (n = read(fd, buffer, sizeof buffer)) != 0;) {
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail("read", path);
    text.append(buffer, static_cast<size_t>(n));
  }
  if (text.empty()) return {};
  void* p = mmap(nullptr, text.size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) fail("read", path);
  std::memcpy(p, text.data(), text.size());
  return {static_cast<const std::byte*>(p), text.size()};
}

std::span<const std::byte> map(int fd, size_t bytes, const std::filesystem::path& path) {
  if (bytes == 0) return {};
  void* p = mmap(nullptr, bytes, PROT_READ, MAP_SHARED, fd, 0);
  if (p == MAP_FAILED) fail("map", path);
  return {static_cast<const std::byte*>(p), bytes};
}

/// Closes a file on every way out, and keeps errno.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    const int saved = errno;
    close(fd_);
    errno = saved;
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

 private:
  int fd_;
};

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path) : path_(path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) fail("open", path);
  const Descriptor closing(fd);
  struct stat st {};
  if (fstat(fd, &st) != 0) fail("read", path);
  if (S_ISDIR(st.st_mode)) {
    errno = EISDIR;
    fail("read", path);
  }
  const auto bytes =
      S_ISREG(st.st_mode) ? map(fd, static_cast<size_t>(st.st_size), path) : read_to_end(fd, path);
  data_ = bytes.data();
  size_ = bytes.size();
}

MappedFile::~MappedFile() {
  if (data_) munmap(const_cast<std::byte*>(data_), size_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept {
  *this = std::move(other);
}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

void MappedFile::will_need(size_t begin, size_t bytes) const {
  FATHOM_ASSERT(begin <= size_ && bytes <= size_ - begin);
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE)), first = begin / page * page;
  auto* p = const_cast<std::byte*>(data_) + first;
  if (bytes > 0) madvise(p, begin + bytes - first, MADV_WILLNEED);  // advice: may fail unheard
}

void MappedFile::populate(size_t begin, size_t bytes) const {
  FATHOM_ASSERT(begin <= size_ && bytes <= size_ - begin);
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE)), first = begin / page * page;
  auto* p = const_cast<std::byte*>(data_) + first;
  const size_t length = begin + bytes - first;
#ifdef MADV_POPULATE_READ
  if (bytes > 0 && madvise(p, length, MADV_POPULATE_READ) == 0) return;
#endif
  for (size_t i = 0; i < length; i += page)
    static_cast<void>(*const_cast<volatile std::byte*>(p + i));
}

void MappedFile::forget(size_t begin, size_t bytes) const {
  FATHOM_ASSERT(begin <= size_ && bytes <= size_ - begin);
  const int fd = open(path_.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  posix_fadvise(fd, static_cast<off_t>(begin), static_cast<off_t>(bytes), POSIX_FADV_DONTNEED);
  close(fd);
}

void MappedFile::want_huge_pages() const {
  if (size_ > 0) madvise(const_cast<std::byte*>(data_), size_, MADV_HUGEPAGE);
}

AtomicFile::AtomicFile(const std::filesystem::path& path) : path_(path) {
  namespace fs = std::filesystem;
  std::error_code code;  // what may not be looked at is taken as it is: opening it will tell
  const fs::file_status there = fs::status(path, code);
  const bool direct = fs::exists(there) && !fs::is_regular_file(there) && !fs::is_directory(there);
  if (!direct && fs::is_symlink(path, code)) {
    const fs::path target = fs::canonical(path, code);
    if (!code) path_ = target;
  }
  if (!direct) temporary_ = path_.string() + fmt::format(".tmp.{}", getpid());
  fd_ = direct ? open(path_.c_str(), O_WRONLY | O_CLOEXEC)
               : open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd_ < 0) fail("write", path_);
}

AtomicFile::~AtomicFile() {
  if (fd_ < 0) return;
  close(fd_);
  if (!temporary_.empty()) unlink(temporary_.c_str());
}

void AtomicFile::write(const void* data, size_t bytes) {
  const char* p = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t n = ::write(fd_, p, bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail("write", path_);
    p += n;
    bytes -= static_cast<size_t>(n);
    written_ += static_cast<uint64_t>(n);
  }
}

void AtomicFile::commit() {
  if (temporary_.empty()) {
    if (close(std::exchange(fd_, -1)) != 0) fail("write", path_);
    return;
  }
  if (fsync(fd_) != 0) fail("write", path_);
  const int fd = std::exchange(fd_, -1);
  if (close(fd) != 0 || rename(temporary_.c_str(), path_.c_str()) != 0) {
    const int saved = errno;
    unlink(temporary_.c_str());
    errno = saved;
    fail("write", path_);
  }
  sync_directory(path_.parent_path());
}

std::string read_text_file(const std::filesystem::path& path) {
  return std::string(MappedFile(path).text());
}

std::string read_input_file(const std::filesystem::path& path) {
  return read_text_file(path == "-" ? "/dev/stdin" : path);
}

void write_text_file(const std::filesystem::path& path, std::string_view text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

void make_directories(const std::filesystem::path& path) {
  std::error_code code;
  std::filesystem::create_directories(path, code);
  if (!code) return;
  errno = code.value();
  fail("create directory", path);
}

void sync_directory(const std::filesystem::path& directory) {
  const int fd = open(directory.empty() ? "." : directory.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  fsync(fd);
  close(fd);
}

}  // namespace fathom
