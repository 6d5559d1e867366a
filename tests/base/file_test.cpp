#include "base/file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "base/error.h"

namespace fathom {
namespace {
namespace fs = std::filesystem;

class FileTest : public testing::Test {
 protected:
  void SetUp() override {
    dir_ = fs::temp_directory_path() / ("fathom_file_test." + std::to_string(getpid()));
    fs::create_directories(dir_);
  }
  void TearDown() override { fs::remove_all(dir_); }
  fs::path dir_;
};

TEST_F(FileTest, AtomicFileAppearsOnlyOnCommit) {
  const fs::path path = dir_ / "a";
  {
    AtomicFile f(path);
    f.write("half");
    EXPECT_FALSE(fs::exists(path));
  }
  EXPECT_TRUE(fs::is_empty(dir_)) << "an abandoned file leaves nothing behind";
  write_text_file(path, "whole");
  EXPECT_EQ(read_text_file(path), "whole");
}

TEST_F(FileTest, FailedWriteKeepsTheOldFile) {
  const fs::path path = dir_ / "a";
  write_text_file(path, "old");
  try {
    AtomicFile f(path);
    f.write("new");
    throw Error("interrupted");
  } catch (const Error&) {
  }
  EXPECT_EQ(read_text_file(path), "old");
}

TEST_F(FileTest, PipesAreReadToTheirEnd) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const std::string text(3000, 'x');
  ASSERT_EQ(write(ends[1], text.data(), text.size()), std::ssize(text));
  close(ends[1]);
  EXPECT_EQ(read_text_file("/dev/fd/" + std::to_string(ends[0])), text);
  close(ends[0]);
  EXPECT_EQ(read_text_file("/dev/null"), "");
}

TEST_F(FileTest, DevicesAndPipesAreNotReplaced) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  write_text_file("/dev/fd/" + std::to_string(ends[1]), "text");
  char buffer[8];
  EXPECT_EQ(read(ends[0], buffer, sizeof buffer), 4);
  close(ends[0]);
  close(ends[1]);
  write_text_file("/dev/null", "text");
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
}

TEST_F(FileTest, SymbolicLinksStayWhenTheirFileIsReplaced) {
  fs::create_directory(dir_ / "there");
  write_text_file(dir_ / "there" / "a", "old");
  fs::create_symlink("there/a", dir_ / "link");
  write_text_file(dir_ / "link", "new");
  EXPECT_TRUE(fs::is_symlink(dir_ / "link"));
  EXPECT_EQ(read_text_file(dir_ / "there" / "a"), "new");
}

TEST_F(FileTest, ErrorsNameThePath) {
  const fs::path path = dir_ / "missing";
  try {
    MappedFile f(path);
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find(path.string()), std::string::npos);
    EXPECT_FALSE(e.hint().empty());
  }
  EXPECT_THROW(MappedFile f(dir_), Error);
  EXPECT_THROW(AtomicFile f(dir_ / "no" / "such"), Error);
}

TEST_F(FileTest, FullDiskIsAnErrorNotATruncatedFile) {
  if (!fs::exists("/dev/full")) GTEST_SKIP();
  const fs::path link = dir_ / ("x.tmp." + std::to_string(getpid()));
  fs::create_symlink("/dev/full", link);
  AtomicFile f(dir_ / "x");
  EXPECT_THROW(f.write(std::string(100, 'x')), Error);
}

TEST_F(FileTest, EmptyFileMaps) {
  write_text_file(dir_ / "empty", "");
  EXPECT_EQ(MappedFile(dir_ / "empty").size(), 0u);
}

}  // namespace
}  // namespace fathom
