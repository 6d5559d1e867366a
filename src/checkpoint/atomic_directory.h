#pragma once

#include <filesystem>

namespace fathom {

/// A directory that appears under its name complete or not at all, however the process ends:
///
///   AtomicDirectory out(path);
///   … write files under out.path() …
///   out.commit();
///
/// Files go to path.tmp.<pid> beside it; where path is a symbolic link, beside what it names.
/// commit() flushes them to disk, adds checksums.json and puts the directory in place of the old
/// one in one step. Without commit() the destructor removes it; what a killed process left is
/// removed by the next AtomicDirectory of the same path. At most one writes a path at a time.
class AtomicDirectory {
 public:
  explicit AtomicDirectory(const std::filesystem::path& path);
  ~AtomicDirectory();
  AtomicDirectory(const AtomicDirectory&) = delete;
  AtomicDirectory& operator=(const AtomicDirectory&) = delete;

  /// Where to write.
  const std::filesystem::path& path() const { return temporary_; }
  void commit();

 private:
  std::filesystem::path path_, temporary_;
  bool committed_ = false;
};

/// Checks every file that checksums.json lists: present, of that size and XXH3-64 hash. Throws
/// Error naming the first that is not, or a missing or damaged checksums.json.
void verify_directory(const std::filesystem::path& path);

/// Removes a directory such that it is never seen in part: it first takes a temporary name.
void remove_directory(const std::filesystem::path& path);

/// Removes temporary directories of `path` whose process is gone. If that process died while
/// replacing the directory on a file system that cannot exchange two names, the old one is put
/// back first.
void clean_leftovers(const std::filesystem::path& path);

}  // namespace fathom
