#include "checkpoint/atomic_directory.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kManifest = "checksums.json";
constexpr const char* kAlgorithm = "xxh3_64";

std::string hash_of(const MappedFile& file) {
  return fmt::format("{:016x}", XXH3_64bits(file.data(), file.size()));
}

void sync_file(const fs::path& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0 || fsync(fd) != 0) {
    const int saved = errno;
    if (fd >= 0) close(fd);
    errno = saved;
    throw_errno(fmt::format("cannot write {}", path.string()), "check the disk");
  }
  close(fd);
}

/// Flushes all files and directories below `root` and lists the files with size and hash.
json flush_and_list(const fs::path& root) {
  json files = json::object();
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(root)) {
    if (entry.is_directory()) {
      sync_directory(entry.path());
      continue;
    }
    sync_file(entry.path());
    const MappedFile file(entry.path());
    files[fs::relative(entry.path(), root).string()] = {{"size", file.size()},
                                                        {"hash", hash_of(file)}};
  }
  return files;
}

/// "name.tmp.123" beside `path` gives the process 123.
struct Leftover {
  fs::path path;
  pid_t process = 0;
};

std::vector<Leftover> leftovers(const fs::path& path, std::string_view kind) {
  const std::string prefix = fmt::format("{}.{}.", path.filename().string(), kind);
  std::vector<Leftover> found;
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(path.parent_path(), ignored)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(prefix)) continue;
    Leftover leftover{entry.path()};
    const char* end = name.data() + name.size();
    const auto [stop, code] = std::from_chars(name.data() + prefix.size(), end, leftover.process);
    if (code == std::errc() && stop == end && leftover.process > 0) found.push_back(leftover);
  }
  return found;
}

bool is_gone(pid_t process) {
  return process == getpid() || (kill(process, 0) != 0 && errno == ESRCH);
}

fs::path sibling(const fs::path& path, std::string_view kind) {
  return path.parent_path() / fmt::format("{}.{}.{}", path.filename().string(), kind, getpid());
}

/// Absolute; where it is a link to a directory, perhaps on a larger disk, that directory.
fs::path normalized(const fs::path& path) {
  const fs::path absolute = fs::absolute(path).lexically_normal();
  const fs::path named = absolute.has_filename() ? absolute : absolute.parent_path();
  std::error_code code;
  if (!fs::is_symlink(named, code)) return named;
  const fs::path target = fs::canonical(named, code);
  return code ? named : target;
}

void rename_or_throw(const fs::path& from, const fs::path& to) {
  if (rename(from.c_str(), to.c_str()) == 0) return;
  throw_errno(fmt::format("cannot rename {} to {}", from.string(), to.string()),
              "check the rights of the directory that holds them");
}

/// The new directory takes the old one's name in one step where the file system can exchange two
/// names; otherwise there is an instant without either, which clean_leftovers repairs.
void replace(const fs::path& fresh, const fs::path& path) {
  std::error_code ignored;
  if (renameat2(AT_FDCWD, fresh.c_str(), AT_FDCWD, path.c_str(), RENAME_EXCHANGE) == 0) {
    sync_directory(path.parent_path());
    fs::remove_all(fresh, ignored);  // now the old one; if this fails, the next write removes it
    return;
  }
  const fs::path old = sibling(path, "old");
  if (fs::exists(path)) rename_or_throw(path, old);
  try {
    rename_or_throw(fresh, path);
  } catch (const Error&) {
    fs::rename(old, path, ignored);
    throw;
  }
  sync_directory(path.parent_path());
  fs::remove_all(old, ignored);
}

}  // namespace

AtomicDirectory::AtomicDirectory(const fs::path& path) : path_(normalized(path)) {
  if (fs::exists(path_) && !fs::is_directory(path_)) {
    throw Error(fmt::format("cannot write {}: a file is in the way", path_.string()),
                "remove it or write elsewhere");
  }
  make_directories(path_.parent_path());
  clean_leftovers(path_);
  temporary_ = sibling(path_, "tmp");
  make_directories(temporary_);
}

AtomicDirectory::~AtomicDirectory() {
  std::error_code ignored;
  if (!committed_) fs::remove_all(temporary_, ignored);
}

void AtomicDirectory::commit() {
  FATHOM_ASSERT(!committed_);
  const json manifest = {{"algorithm", kAlgorithm}, {"files", flush_and_list(temporary_)}};
  write_text_file(temporary_ / kManifest, manifest.dump(2) + "\n");
  sync_directory(temporary_);
  replace(temporary_, path_);
  committed_ = true;
}

void remove_directory(const fs::path& path) {
  const fs::path target = normalized(path), doomed = sibling(target, "tmp");
  rename_or_throw(target, doomed);
  std::error_code ignored;
  fs::remove_all(doomed, ignored);  // what is left, the next write of the path removes
}

void clean_leftovers(const fs::path& path) {
  const fs::path target = normalized(path);
  std::error_code ignored;
  for (const Leftover& old : leftovers(target, "old")) {
    if (!is_gone(old.process)) continue;
    if (!fs::exists(target)) fs::rename(old.path, target, ignored);
    fs::remove_all(old.path, ignored);
  }
  for (const Leftover& temporary : leftovers(target, "tmp")) {
    if (is_gone(temporary.process)) fs::remove_all(temporary.path, ignored);
  }
}

void verify_directory(const fs::path& path) {
  const auto fail = [&](const std::string& what) {
    throw Error(fmt::format("{}: {}", path.string(), what),
                "this checkpoint is damaged: use an earlier one");
  };
  if (!fs::exists(path / kManifest)) fail(fmt::format("has no {}", kManifest));
  const json manifest = parse_json(read_text_file(path / kManifest), (path / kManifest).string());
  const bool valid = manifest.is_object() && manifest.value("algorithm", json()) == kAlgorithm &&
                     manifest.contains("files") && manifest["files"].is_object();
  if (!valid) fail(fmt::format("{} is not a list of {} checksums", kManifest, kAlgorithm));
  for (const auto& item : manifest["files"].items()) {
    const fs::path file_path = path / item.key();
    const json& expected = item.value();
    if (!fs::is_regular_file(file_path)) fail(fmt::format("{} is missing", item.key()));
    const MappedFile file(file_path);
    const json actual = {{"size", file.size()}, {"hash", hash_of(file)}};
    if (actual != expected) {
      fail(fmt::format("{} is not what was written: {} instead of {}", item.key(), brief(actual),
                       brief(expected)));
    }
  }
}

}  // namespace fathom
