#include "train/data_source.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "temporary_directory.h"

namespace fathom::train {
namespace {
namespace fs = std::filesystem;

class DataSourceTest : public testing::Test {
 protected:
  fs::path write(const std::string& name, const std::string& text) {
    fs::create_directories((dir_ / name).parent_path());
    write_quickly(dir_ / name, text);
    return dir_ / name;
  }
  DocumentSet scan(const std::vector<fs::path>& paths) {
    return scan_documents(find_source_files(paths));
  }
  std::string text(const DocumentSet& set, size_t i) {
    const Document& d = set.documents[i];
    const std::string file = read_text_file(set.files[d.file].path);
    return document_text(set.files[d.file], d, std::string_view(file).substr(d.begin, d.size));
  }
  std::string error_of(const std::vector<fs::path>& paths) {
    try {
      const DocumentSet set = scan(paths);
      for (size_t i = 0; i < set.documents.size(); ++i) text(set, i);
    } catch (const Error& e) {
      return e.what();
    }
    return "no error";
  }
  void expect_error(const std::vector<fs::path>& paths, const std::string& part) {
    const std::string error = error_of(paths);
    EXPECT_NE(error.find(part), std::string::npos) << part << " in: " << error;
  }

  TemporaryDirectory dir_{"data_source"};
};

TEST_F(DataSourceTest, DirectoriesAreSearchedInOrder) {
  write("b/two.txt", "two");
  write("a/one.jsonl", "{\"text\": \"one\"}\n\n{\"text\": \"more\", \"id\": 3}");
  write("c.txt", "three");
  write("ignored.csv", "x");
  write("empty.txt", "");
  const DocumentSet set = scan({dir_.path()});
  ASSERT_EQ(set.documents.size(), 4u);
  EXPECT_EQ(text(set, 0), "one");
  EXPECT_EQ(text(set, 1), "more");
  EXPECT_EQ(set.documents[1].line, 3u);
  EXPECT_EQ(text(set, 2), "two");
  EXPECT_EQ(text(set, 3), "three");
}

TEST_F(DataSourceTest, ANamedFileMayHaveAnyName) {
  const DocumentSet set = scan({write("notes.md", "# hello")});
  EXPECT_EQ(text(set, 0), "# hello");
}

TEST_F(DataSourceTest, TextIsCutAtParagraphsAndNothingIsLost) {
  std::string all;
  for (int i = 0; i < 2000; ++i)
    all += "Paragraph " + std::to_string(i) + std::string(i % 90, 'x') + ".\n\n";
  const DocumentSet set = scan({write("book.txt", all)});
  EXPECT_GE(set.documents.size(), 64u) << "one small file has documents enough to hold some out";
  std::string joined;
  for (size_t i = 0; i < set.documents.size(); ++i) {
    joined += text(set, i);
    EXPECT_TRUE(joined.ends_with("\n\n"));
    EXPECT_LE(set.documents[i].size, std::max<size_t>(1024, all.size() / 64));
  }
  EXPECT_EQ(joined, all);
}

TEST_F(DataSourceTest, TextWithoutAnyBreakIsCutBetweenCharacters) {
  std::string all;
  while (all.size() < 100'000) all += "文";
  const DocumentSet set = scan({write("run.txt", all)});
  EXPECT_GE(set.documents.size(), 64u);
  std::string joined;
  for (size_t i = 0; i < set.documents.size(); ++i) {
    joined += text(set, i);
    EXPECT_EQ(set.documents[i].size % 3, 0u);
  }
  EXPECT_EQ(joined, all);
}

TEST_F(DataSourceTest, ManyShortFilesAreOneDocumentEach) {
  for (int i = 0; i < 200; ++i) write("d/" + std::to_string(i) + ".txt", std::string(600, 'a'));
  EXPECT_EQ(scan({dir_ / "d"}).documents.size(), 200u);
}

TEST_F(DataSourceTest, UnusableFilesAreNamed) {
  expect_error({dir_ / "none"}, (dir_ / "none").string());
  expect_error({write("empty.txt", "")}, "empty.txt is empty");
  expect_error({write("blank.txt", " \n\n ")}, "holds only white space");
  expect_error({write("zero.txt", std::string("abc\0def", 7))}, "NUL byte at offset 3");
  std::string latin1;
  for (int i = 0; i < 100; ++i) latin1 += "d\xE9j\xE0 vu ";
  expect_error({write("latin1.txt", latin1)}, "latin1.txt is not UTF-8: 200 invalid bytes");
  EXPECT_EQ(error_of({write("typo.txt", "one stray \xE9 byte")}), "no error");
  expect_error({dir_ / "typo.txt", dir_.path()}, "typo.txt is named twice");
  fs::create_directories(dir_ / "hollow");
  expect_error({dir_ / "hollow"}, "no .txt or .jsonl file");
}

TEST_F(DataSourceTest, BadJsonLinesAreNamed) {
  expect_error({write("a.jsonl", "{\"text\": \"x\"}\n{\"text\": \n")}, "a.jsonl:2: not valid JSON");
  expect_error({write("b.jsonl", "{\"text\": \"x\"}\n\n{\"txt\": 1}\n")},
               "b.jsonl:3: no string field \"text\"");
  expect_error({write("c.jsonl", "[1]\n")}, "c.jsonl:1: no string field");
  expect_error({write("d.jsonl", "{\"text\": null}")}, "d.jsonl:1: no string field");
}

TEST_F(DataSourceTest, TheSplitIsDisjointCompleteAndOfTheRightSize) {
  std::string lines;
  for (int i = 0; i < 1000; ++i) lines += "{\"text\": \"" + std::string(50, 'a') + "\"}\n";
  const DocumentSet set = scan({write("a.jsonl", lines)});
  auto both = select_documents(set, Part::kTraining, 0.05);
  const auto held_out = select_documents(set, Part::kHeldOut, 0.05);
  EXPECT_EQ(held_out.size(), 50u);
  both.insert(both.end(), held_out.begin(), held_out.end());
  std::sort(both.begin(), both.end());
  EXPECT_EQ(both, select_documents(set, Part::kAll, 0));
}

TEST_F(DataSourceTest, AtLeastOneDocumentIsHeldOutAndOneIsLeft) {
  const DocumentSet set = scan({write("a.jsonl", "{\"text\":\"a\"}\n{\"text\":\"b\"}\n")});
  for (const double fraction : {1e-9, 0.99}) {
    EXPECT_EQ(select_documents(set, Part::kHeldOut, fraction).size(), 1u);
    EXPECT_EQ(select_documents(set, Part::kTraining, fraction).size(), 1u);
  }
  const DocumentSet one = scan({write("one.txt", "short")});
  EXPECT_THROW(select_documents(one, Part::kTraining, 0.5), Error);
}

}  // namespace
}  // namespace fathom::train
