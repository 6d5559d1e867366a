#include "train/data_source.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "text/unicode.h"
#include "train/data_order.h"

namespace fathom::train {
namespace {
namespace fs = std::filesystem;

constexpr uint64_t kLargestPiece = 64 << 10, kSmallestPiece = 1 << 10, kFewestPieces = 64;
constexpr size_t kUtf8Sample = 1 << 20;

SourceFile stat_file(const fs::path& path) {
  SourceFile file;
  std::error_code code;
  file.path = fs::canonical(path, code);
  if (!code) file.size = fs::file_size(file.path, code);
  if (!code)
    file.mtime = std::chrono::duration_cast<std::chrono::nanoseconds>(
                     fs::last_write_time(file.path, code).time_since_epoch())
                     .count();
  if (code)
    throw Error(fmt::format("cannot read training text {}: {}", path.string(), code.message()),
                "check data.train and data.valid");
  return file;
}

std::vector<fs::path> text_files_below(const fs::path& directory) try {
  std::vector<fs::path> found;
  for (const auto& entry : fs::recursive_directory_iterator(directory)) {
    const fs::path extension = entry.path().extension();
    if (entry.is_regular_file() && (extension == ".txt" || extension == ".jsonl"))
      found.push_back(entry.path());
  }
  std::sort(found.begin(), found.end());
  return found;
} catch (const fs::filesystem_error& e) {
  throw Error(
      fmt::format("cannot list training text {}: {}", e.path1().string(), e.code().message()),
      "check the rights of the directory and what is in it");
}

void add_directory(const fs::path& directory, std::vector<SourceFile>& files) {
  const std::vector<fs::path> found = text_files_below(directory);
  const size_t before = files.size();
  for (const fs::path& path : found) {
    files.push_back(stat_file(path));
    if (files.back().size > 0) continue;
    log_warning("empty file passed over", {{"path", path.string()}});
    files.pop_back();
  }
  if (files.size() == before)
    throw Error(fmt::format("no .txt or .jsonl file with text below {}", directory.string()),
                "name files of other kinds one by one");
}

void check_is_text(const SourceFile& file, std::string_view text) {
  if (const void* nul = std::memchr(text.data(), 0, text.size()))
    throw Error(fmt::format("{} is not text: NUL byte at offset {}", file.path.string(),
                            static_cast<const char*>(nul) - text.data()),
                "give UTF-8 text or JSON lines, uncompressed");
  const std::string_view sample = text.substr(0, kUtf8Sample);
  size_t invalid = 0;
  for (size_t at = 0; at < sample.size();) {
    const DecodedCodePoint point = decode_code_point(sample, at);
    invalid += point.value == kInvalidByte;
    at += point.bytes;
  }
  // A stray byte or two is someone's typo; one in a hundred is another encoding.
  if (invalid * 100 > sample.size() + 300)
    throw Error(fmt::format("{} is not UTF-8: {} invalid bytes in the first {}", file.path.string(),
                            invalid, sample.size()),
                "convert it first, for example with iconv -t UTF-8");
}

bool is_blank(std::string_view text) {
  return text.find_first_not_of(" \t\r\n\f\v") == std::string_view::npos;
}

void split_lines(uint32_t file, std::string_view text, std::vector<Document>& documents) {
  uint64_t line = 1;
  for (size_t begin = 0; begin < text.size(); ++line) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    if (!is_blank(text.substr(begin, end - begin)))
      documents.push_back({file, begin, end - begin, line});
    begin = end + 1;
  }
}

/// The best place to end a piece of at most `limit` bytes, looking back to half of it.
size_t piece_end(std::string_view text, size_t limit) {
  if (text.size() <= limit) return text.size();
  const std::string_view window = text.substr(limit / 2, limit - limit / 2);
  for (const std::string_view mark : {"\n\n", "\n\r\n", "\n", " "}) {
    const size_t at = window.rfind(mark);
    if (at != std::string_view::npos) return limit / 2 + at + mark.size();
  }
  while (limit > 1 && (static_cast<uint8_t>(text[limit]) & 0xC0) == 0x80) --limit;
  return limit;
}

void split_text(uint32_t file, std::string_view text, size_t limit,
                std::vector<Document>& documents) {
  for (size_t begin = 0; begin < text.size();) {
    const size_t size = piece_end(text.substr(begin), limit);
    if (!is_blank(text.substr(begin, size))) documents.push_back({file, begin, size, 0});
    begin += size;
  }
}

uint64_t piece_limit(const std::vector<SourceFile>& files) {
  uint64_t text = 0;
  for (const SourceFile& file : files) text += file.is_jsonl() ? 0 : file.size;
  return std::clamp(text / kFewestPieces, kSmallestPiece, kLargestPiece);
}

void check_distinct(const std::vector<SourceFile>& files) {
  std::set<fs::path> seen;
  for (const SourceFile& file : files)
    if (!seen.insert(file.path).second)
      throw Error(fmt::format("training text {} is named twice", file.path.string()),
                  "a copy could be trained on while the other is held out: name it once");
}

}  // namespace

std::vector<SourceFile> find_source_files(std::span<const fs::path> paths) {
  std::vector<SourceFile> files;
  for (const fs::path& path : paths) {
    if (std::error_code code; fs::is_directory(path, code)) {
      add_directory(path, files);
      continue;
    }
    files.push_back(stat_file(path));
    if (files.back().size == 0)
      throw Error(fmt::format("training text {} is empty", path.string()),
                  "check data.train and data.valid");
  }
  check_distinct(files);
  return files;
}

DocumentSet scan_documents(std::vector<SourceFile> files) {
  DocumentSet set;
  set.files = std::move(files);
  const uint64_t limit = piece_limit(set.files);
  for (uint32_t i = 0; i < set.files.size(); ++i) {
    SourceFile& file = set.files[i];
    const MappedFile mapped(file.path);
    check_is_text(file, mapped.text());
    file.hash = XXH3_64bits(mapped.data(), mapped.size());
    if (file.is_jsonl())
      split_lines(i, mapped.text(), set.documents);
    else
      split_text(i, mapped.text(), limit, set.documents);
  }
  for (const Document& document : set.documents) set.bytes += document.size;
  if (set.documents.empty())
    throw Error(fmt::format("{} holds only white space", set.files.front().path.string()),
                "check data.train and data.valid");
  return set;
}

std::string document_text(const SourceFile& file, const Document& document, std::string_view raw) {
  if (document.line == 0) return std::string(raw);
  const std::string where = fmt::format("{}:{}", file.path.string(), document.line);
  const nlohmann::json json = parse_json(raw, where);
  if (!json.is_object() || !json.contains("text") || !json["text"].is_string())
    throw Error(fmt::format("{}: no string field \"text\" in {}", where, brief(json)),
                "a .jsonl file holds one object a line, {\"text\": \"…\"}");
  return json["text"].get<std::string>();
}

std::vector<uint64_t> select_documents(const DocumentSet& set, Part part, double fraction) {
  const int64_t count = static_cast<int64_t>(set.documents.size());
  std::vector<bool> held_out(set.documents.size());
  if (part != Part::kAll) {
    if (count < 2)
      throw Error(fmt::format("{} holds one document only: none can be held out",
                              set.files.front().path.string()),
                  "give data.valid, or data.valid_fraction = 0 for no held-out loss");
    const Permutation order(count, 0, stream_of(RandomUse::kHeldOut));
    const double wanted = fraction * static_cast<double>(set.bytes);
    double chosen = 0;
    for (int64_t i = 0; i + 1 < count && (i == 0 || chosen < wanted); ++i) {
      const size_t document = static_cast<size_t>(order(i));
      held_out[document] = true;
      chosen += static_cast<double>(set.documents[document].size);
    }
  }
  std::vector<uint64_t> selected;
  for (size_t i = 0; i < set.documents.size(); ++i)
    if (held_out[i] == (part == Part::kHeldOut)) selected.push_back(i);
  return selected;
}

}  // namespace fathom::train
