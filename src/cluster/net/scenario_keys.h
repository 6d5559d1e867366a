#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "cluster/net/scenario.h"

namespace fathom::net {

/// One of a few words, stored as an enum or a boolean.
struct Word {
  std::vector<std::string_view> words;
  std::function<void(size_t)> set;
};

/// Where a key's value goes. Doubles and integers carry their least value; `open` excludes it.
struct Number {
  double* target;
  double least = 0;
  bool open = false;
};
struct Integer {
  int64_t* target;
  int64_t least = 0;
};
/// Bytes: an integer, or text with a unit ("1GiB").
struct Bytes {
  int64_t* target;
};
using Target = std::variant<Number, Integer, Bytes, Word, bool*, uint64_t*, std::string*,
                            std::vector<std::string>*>;

/// A key of the scenario file. For keys of jobs `name` begins with "job."; their target and use
/// depend on the job.
struct Key {
  std::string_view name, flag, help;
  Target (*target)(Scenario&, Job&);
  /// Why the key has no influence, or empty; null: it always has.
  std::string (*unused)(const Scenario&, const Job&) = nullptr;
  bool is_job() const { return name.starts_with("job."); }
};

/// The one table that files, flags and help are driven by.
const std::vector<Key>& all_keys();

}  // namespace fathom::net
