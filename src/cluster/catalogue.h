#pragma once

#include <atomic>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cluster/worksheet.h"

namespace fathom::cluster {

/// One number of a data sheet or a measurement, and where it is published.
struct Figure {
  double value = 0;
  std::string source;
};

/// A flag that any thread may set.
class ReadMark {
 public:
  ReadMark() = default;
  ReadMark(const ReadMark& other) : set_(other.is_set()) {}
  ReadMark& operator=(const ReadMark& other) {
    set_ = other.is_set();
    return *this;
  }
  void set() const { set_.store(true, std::memory_order_relaxed); }
  bool is_set() const { return set_.load(std::memory_order_relaxed); }

 private:
  mutable std::atomic<bool> set_ = false;
};

/// One entry of the catalogue: figures by name. Names end in their unit: nic_gb_s, memory_gib.
class Entry {
 public:
  Entry(std::string id, std::string name) : id_(std::move(id)), name_(std::move(name)) {}

  const std::string& id() const { return id_; }
  const std::string& name() const { return name_; }
  bool has(std::string_view key) const { return figures_.contains(key); }
  const Figure* find(std::string_view key) const;
  /// A figure that must be there; the Error says how to add it.
  double at(std::string_view key) const;
  /// The same, and the sheet names it as an assumption with its source.
  double at(std::string_view key, Worksheet& sheet) const;
  void set(std::string_view key, Figure figure);
  std::vector<std::string> keys() const;
  /// Whether a calculation has asked for a figure since it was set.
  bool was_read(std::string_view key) const;

 private:
  std::string id_, name_;
  struct Marked {
    Figure figure;
    ReadMark read;
  };
  std::map<std::string, Marked, std::less<>> figures_;
};

/// Hardware by kind ("gpu", "nic", "switch", "link") and name. The built-in entries come from
/// share/cluster/hardware.toml, which is part of the binary.
class Catalogue {
 public:
  static Catalogue built_in();
  /// Adds a file's entries; those of a known name replace it whole. TOML as hardware.toml, or the
  /// document that `fathom doctor --json` prints, which becomes the gpu named as the file.
  /// Unknown kinds and figures, negative and non-finite values are Errors.
  /// Returns the names of its gpus.
  std::vector<std::string> add_file(const std::filesystem::path& path);
  std::vector<std::string> add_toml(std::string_view text, const std::string& source);

  /// Throws Error with the nearest name when there is none such.
  const Entry& find(std::string_view kind, std::string_view id) const;
  const Entry& gpu(std::string_view id) const { return find("gpu", id); }
  std::vector<std::string> names(std::string_view kind) const;

  /// What-if: "h800.nic_gb_s=100". The figure must be one that entries of that kind may have.
  void set(std::string_view assignment);
  /// Throws UsageError when a figure that set() changed was never asked for: it has no influence.
  void check_overrides_used() const;

 private:
  struct Override {
    std::string kind, id, key;
  };
  void put(const std::string& kind, Entry entry);
  std::string add_doctor(const std::filesystem::path& path);

  std::map<std::string, std::map<std::string, Entry, std::less<>>, std::less<>> kinds_;
  std::vector<Override> overrides_;
};

/// "GB/s" for a figure named nic_gb_s; empty for a bare number.
std::string unit_of_figure(std::string_view key);

}  // namespace fathom::cluster
