#pragma once

#include <concepts>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace fathom::app {

/// What a subcommand found: named values in order, printed either as a readable list or, with
/// --json, as one JSON document.
class Report {
 public:
  Report();
  ~Report();
  Report(Report&&) noexcept;
  Report& operator=(Report&&) noexcept;

  /// `text` is what a person reads instead of the bare value ("70.272 KB"); by default the value.
  void add(std::string_view key, double value, std::string_view text = {});
  void add(std::string_view key, int64_t value, std::string_view text = {});
  void add(std::string_view key, std::string_view value);
  void add(std::string_view key, const char* value) { add(key, std::string_view(value)); }
  void add(std::string_view key, std::same_as<bool> auto value) { add_flag(key, value); }
  void add(std::string_view key, const std::vector<std::string>& values);
  void add(std::string_view key, const std::vector<int32_t>& values);
  void add(std::string_view key, const std::vector<double>& values);
  /// A nested document, and a list of them.
  void add(std::string_view key, const Report& value);
  void add(std::string_view key, const std::vector<Report>& values);

  /// To standard output.
  void print(bool json) const;
  /// For people, on standard error: where standard output has something else, such as a text.
  void print_aside() const;

 private:
  struct Data;
  void add_flag(std::string_view key, bool value);
  std::string lines(const std::string& indent) const;
  std::unique_ptr<Data> data_;
};

}  // namespace fathom::app
