#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace fathom::train {

/// A file of training text as it was found.
struct SourceFile {
  std::filesystem::path path;
  uint64_t size = 0;
  int64_t mtime = 0;  ///< nanoseconds, the file system's clock
  uint64_t hash = 0;  ///< XXH3 of the content; 0 until scanned

  bool is_jsonl() const { return path.extension() == ".jsonl"; }
};

/// One document: bytes [begin, begin + size) of a file. In a .jsonl file these are a line, to be
/// parsed; elsewhere the text itself.
struct Document {
  uint32_t file = 0;
  uint64_t begin = 0, size = 0;
  uint64_t line = 0;  ///< of a .jsonl file, from 1
};

/// Files and their documents, in order.
struct DocumentSet {
  std::vector<SourceFile> files;
  std::vector<Document> documents;
  uint64_t bytes = 0;  ///< of all documents
};

/// The files that paths stand for, without reading them. A directory stands for all .txt and .jsonl
/// files below it, sorted by path; a named file may have any name and is read as text unless it
/// ends in .jsonl. Throws Error for a missing or empty file, one named twice, and a directory
/// without any (an empty file in a directory is passed over with a warning).
std::vector<SourceFile> find_source_files(std::span<const std::filesystem::path> paths);

/// Reads the files once, checks that they hold text (no NUL bytes, UTF-8 but for stray bytes) and
/// splits them into documents:
///  - .jsonl: each line that is not blank;
///  - text: pieces cut at paragraph ends (else line ends, else spaces), of at most 64 KiB, or a
///    64th of all text where that is less, but not below 1 KiB: even one small file then has enough
///    documents to hold some out. Joined, the pieces are the file.
DocumentSet scan_documents(std::vector<SourceFile> files);

/// The text of a document. raw: its bytes. Throws Error naming file and line when a line of a
/// .jsonl file is no JSON object with a string "text".
std::string document_text(const SourceFile& file, const Document& document, std::string_view raw);

/// Which documents a token stream is made of.
enum class Part : uint8_t { kAll, kTraining, kHeldOut };

/// Indices of the documents of a part, ascending. About `fraction` of the bytes are held out, at
/// least one document; the choice depends on the number and sizes of the documents only, so that
/// runs with different seeds are compared on the same text.
std::vector<uint64_t> select_documents(const DocumentSet& set, Part part, double fraction);

}  // namespace fathom::train
