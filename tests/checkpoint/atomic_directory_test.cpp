#include "checkpoint/atomic_directory.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include <fstream>
#include <random>

#include "base/error.h"
#include "base/file.h"
#include "checkpoint/temporary_directory.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

class AtomicDirectoryTest : public TemporaryDirectoryTest {
 protected:
  void SetUp() override {
    TemporaryDirectoryTest::SetUp();
    path_ = dir_ / "step-1";
  }
  void write(const std::string& content) const {
    AtomicDirectory out(path_);
    std::ofstream(out.path() / "a") << content;
    fs::create_directory(out.path() / "sub");
    std::ofstream(out.path() / "sub/b") << content << content;
    out.commit();
  }
  std::string verify_error() const {
    try {
      verify_directory(path_);
    } catch (const Error& e) {
      EXPECT_FALSE(e.hint().empty());
      return e.what();
    }
    return "no error";
  }
  size_t siblings() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(dir_), {}));
  }

  fs::path path_;
};

TEST_F(AtomicDirectoryTest, AppearsOnCommit) {
  {
    AtomicDirectory out(path_);
    std::ofstream(out.path() / "a") << "half";
    EXPECT_FALSE(fs::exists(path_));
  }
  EXPECT_TRUE(fs::is_empty(dir_)) << "an abandoned directory leaves nothing";
  write("one");
  EXPECT_NO_THROW(verify_directory(path_));
  EXPECT_EQ(read_text_file(path_ / "sub/b"), "oneone");
  EXPECT_EQ(siblings(), 1u);
}

TEST_F(AtomicDirectoryTest, ReplacesAnOlderOneWhole) {
  write("one");
  std::ofstream(path_ / "extra") << "of the old one";
  write("two");
  EXPECT_EQ(read_text_file(path_ / "a"), "two");
  EXPECT_FALSE(fs::exists(path_ / "extra"));
  EXPECT_EQ(siblings(), 1u);
}

TEST_F(AtomicDirectoryTest, VerifyNamesWhatIsWrong) {
  EXPECT_NE(verify_error().find("has no checksums.json"), std::string::npos);
  write("one");
  std::ofstream(path_ / "a") << "onf";
  EXPECT_NE(verify_error().find("a is not what was written"), std::string::npos);
  std::ofstream(path_ / "a") << "on";
  EXPECT_NE(verify_error().find("\"size\":2"), std::string::npos);
  fs::remove(path_ / "a");
  EXPECT_NE(verify_error().find("a is missing"), std::string::npos);
  for (const char* manifest : {"", "[]", "{}", R"({"algorithm":"md5","files":{}})",
                               R"({"algorithm":"xxh3_64","files":[]})"}) {
    std::ofstream(path_ / "checksums.json") << manifest;
    EXPECT_NE(verify_error().find("checksums.json"), std::string::npos);
  }
}

TEST_F(AtomicDirectoryTest, RemovesLeftoversOfDeadProcessesOnly) {
  const pid_t dead = fork();
  if (dead == 0) _exit(0);
  waitpid(dead, nullptr, 0);
  const fs::path gone = dir_ / ("step-1.tmp." + std::to_string(dead));
  const fs::path alive = dir_ / ("step-1.tmp." + std::to_string(getppid()));
  const fs::path other = dir_ / ("step-12.tmp." + std::to_string(dead));
  const fs::path odd = dir_ / "step-1.tmp.x";
  for (const fs::path& path : {gone, alive, other, odd}) fs::create_directory(path);
  write("one");
  EXPECT_FALSE(fs::exists(gone));
  EXPECT_TRUE(fs::exists(alive));
  EXPECT_TRUE(fs::exists(other));
  EXPECT_TRUE(fs::exists(odd));
}

TEST_F(AtomicDirectoryTest, PutsBackWhatAnInterruptedReplacementMovedAway) {
  write("one");
  const pid_t dead = fork();
  if (dead == 0) _exit(0);
  waitpid(dead, nullptr, 0);
  fs::rename(path_, path_.string() + ".old." + std::to_string(dead));
  clean_leftovers(path_);
  EXPECT_NO_THROW(verify_directory(path_));
  EXPECT_EQ(siblings(), 1u);
}

TEST_F(AtomicDirectoryTest, FileInTheWayAndUnwritableParent) {
  std::ofstream(path_) << "file";
  EXPECT_THROW(AtomicDirectory out(path_), Error);
  EXPECT_THROW(AtomicDirectory out("/proc/fathom/x"), Error);
}

TEST_F(AtomicDirectoryTest, TrailingSlashIsTheSameDirectory) {
  path_ += "/";
  write("one");
  EXPECT_TRUE(fs::exists(dir_ / "step-1/a"));
}

TEST_F(AtomicDirectoryTest, LinkStaysAndItsDirectoryIsWritten) {
  fs::create_directories(dir_ / "elsewhere" / "target");
  fs::create_symlink("elsewhere/target", path_);
  write("new");
  EXPECT_TRUE(fs::is_symlink(path_));
  EXPECT_EQ(read_text_file(dir_ / "elsewhere" / "target" / "a"), "new");
  EXPECT_EQ(siblings(), 2u) << "nothing is left beside the link";
}

/// Writes versions 0, 1, … without end; killed at a random moment, what is left under the name is
/// one whole version.
TEST_F(AtomicDirectoryTest, KilledAtAnyTimeWhatLoadsIsWhole) {
  std::mt19937 rng(7);
  for (int round = 0; round < 25; ++round) {
    const pid_t writer = fork();
    if (writer == 0) {
      for (int version = 0;; ++version)
        write(std::string(20000, static_cast<char>('a' + version % 26)));
    }
    usleep(std::uniform_int_distribution<useconds_t>(1000, 30000)(rng));
    kill(writer, SIGKILL);
    waitpid(writer, nullptr, 0);
    if (!fs::exists(path_)) continue;
    ASSERT_EQ(verify_error(), "no error");
    const std::string a = read_text_file(path_ / "a");
    EXPECT_EQ(read_text_file(path_ / "sub/b"), a + a);
  }
  write("end");
  EXPECT_EQ(siblings(), 1u) << "every killed writer's leftovers are gone";
}

}  // namespace
}  // namespace fathom
