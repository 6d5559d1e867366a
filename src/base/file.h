#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace fathom {

/// A whole file mapped read-only; what is no regular file (a pipe, /dev/stdin) is read to its end
/// instead. Throws Error naming the path when it cannot be opened.
class MappedFile {
 public:
  MappedFile() = default;
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  const std::byte* data() const { return data_; }
  size_t size() const { return size_; }
  std::string_view text() const { return {reinterpret_cast<const char*>(data_), size_}; }
  const std::filesystem::path& path() const { return path_; }
  /// Asks the system to read [begin, begin + bytes) from disk, without waiting for it.
  void will_need(size_t begin, size_t bytes) const;
  /// Reads [begin, begin + bytes) from disk and maps it, so that no access waits later.
  void populate(size_t begin, size_t bytes) const;
  /// Gives [begin, begin + bytes) back, so that the next access reads from disk; where the system
  /// follows the advice.
  void forget(size_t begin, size_t bytes) const;
  /// Asks for huge pages, where the system has them for files.
  void want_huge_pages() const;

 private:
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

/// Writes a file so that it either appears complete under its name or not at all: data go to a
/// temporary file beside it; commit() flushes it to disk (fsync) and renames it. Without commit()
/// the destructor removes the temporary file. Write errors (disk full) throw and name the path.
/// A symbolic link stays, and the file that it names is replaced. What is no regular file
/// (/dev/stdout, a pipe) is written to directly.
class AtomicFile {
 public:
  explicit AtomicFile(const std::filesystem::path& path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(const void* data, size_t bytes);
  void write(std::string_view text) { write(text.data(), text.size()); }
  uint64_t written() const { return written_; }
  void commit();

 private:
  std::filesystem::path path_, temporary_;  // temporary_ is empty where it is written directly
  int fd_ = -1;
  uint64_t written_ = 0;
};

std::string read_text_file(const std::filesystem::path& path);
/// The same for a file that the command line names, where "-" is the standard input.
std::string read_input_file(const std::filesystem::path& path);
/// AtomicFile in one call.
void write_text_file(const std::filesystem::path& path, std::string_view text);
/// Creates the directory and its parents; an error says whether it is the rights or a file in the
/// way.
void make_directories(const std::filesystem::path& path);
/// Makes a rename inside `directory` durable.
void sync_directory(const std::filesystem::path& directory);

}  // namespace fathom
