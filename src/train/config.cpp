#include "train/config.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <toml++/toml.h>
#include <algorithm>
#include <set>
#include <sstream>

#include "base/error.h"
#include "base/file.h"
#include "train/config_fields.h"
#include "train/schedule.h"

namespace fathom::train {
namespace {
namespace fs = std::filesystem;

/// Where values come from: for messages and for relative paths.
struct Source {
  std::string name;  ///< "run.toml", or "--set train.steps=-1"
  fs::path directory;
};

const char* type_name(const toml::node& node) {
  switch (node.type()) {
    case toml::node_type::table:
      return "a table";
    case toml::node_type::array:
      return "an array";
    case toml::node_type::string:
      return "a string";
    case toml::node_type::integer:
      return "an integer";
    case toml::node_type::floating_point:
      return "a number";
    case toml::node_type::boolean:
      return "a boolean";
    default:
      return "a date or time";
  }
}

std::string text_of(const toml::node& node) {
  std::ostringstream out;
  node.visit([&](const auto& n) { out << n; });
  return out.str();
}

fs::path resolved(const std::string& text, const Source& source) {
  if (text.empty()) return {};
  return fs::absolute(source.directory / text).lexically_normal();
}

/// Sets one field from a TOML node; throws naming source, key and value.
class Assign {
 public:
  Assign(const Field& field, const toml::node& node, const Source& source)
      : field_(field), node_(node), source_(source) {}

  void operator()(std::string* target) const {
    *target = string();
    if (target->empty()) fail("a name or a path");
    // A model may be a preset's name: only what exists beside the file is taken for a path.
    if (std::error_code code; fs::exists(source_.directory / *target, code))
      *target = resolved(*target, source_).string();
  }
  void operator()(fs::path* target) const { *target = resolved(string(), source_); }
  void operator()(std::vector<fs::path>* target) const {
    target->clear();
    if (node_.is_string()) return target->push_back(resolved(string(), source_));
    const toml::array* list = node_.as_array();
    if (!list) fail("a path or a list of paths");
    for (const toml::node& item : *list) {
      if (!item.is_string()) fail("a path or a list of paths");
      target->push_back(resolved(item.ref<std::string>(), source_));
    }
  }
  void operator()(std::vector<std::string>* target) const {
    target->clear();
    if (node_.is_string()) return target->push_back(string());
    const toml::array* list = node_.as_array();
    if (!list) fail("a name or a list of names");
    for (const toml::node& item : *list) {
      if (!item.is_string()) fail("a name or a list of names");
      target->push_back(item.ref<std::string>());
    }
  }
  void operator()(int64_t* target) const {
    *target = integer();
    if (!field_.range.contains(static_cast<double>(*target))) fail(field_.range.text());
  }
  void operator()(double* target) const { *target = number(node_); }
  void operator()(bool* target) const {
    if (!node_.is_boolean()) fail("true or false");
    *target = node_.ref<bool>();
  }
  void operator()(std::array<double, 2>* target) const {
    const toml::array* list = node_.as_array();
    if (!list || list->size() != 2) fail("an array of two numbers");
    *target = {number(*list->get(0)), number(*list->get(1))};
  }
  void operator()(const Choice& choice) const {
    const auto at = node_.is_string()
                        ? std::find(choice.names.begin(), choice.names.end(), string())
                        : choice.names.end();
    if (at == choice.names.end()) fail(fmt::format("one of {}", fmt::join(choice.names, ", ")));
    choice.set(static_cast<size_t>(at - choice.names.begin()));
  }

 private:
  [[noreturn]] void fail(std::string_view wanted) const {
    throw Error(fmt::format("{}: {} = {} ({}) must be {}", source_.name, field_.key, text_of(node_),
                            type_name(node_), wanted));
  }
  std::string string() const {
    if (!node_.is_string()) fail("a string");
    return node_.ref<std::string>();
  }
  /// Also a float that is whole: `batch_ramp_tokens = 469e9`.
  int64_t integer() const {
    if (node_.is_integer()) return node_.ref<int64_t>();
    const double x = node_.value_or(0.5);
    if (!node_.is_floating_point() ||
        x != static_cast<double>(static_cast<int64_t>(std::clamp(x, -9e18, 9e18))))
      fail("an integer");
    return static_cast<int64_t>(x);
  }
  double number(const toml::node& node) const {
    if (!node.is_number()) fail("a number");
    const double x = *node.value<double>();
    if (!field_.range.contains(x)) fail(field_.range.text());
    return x;
  }

  const Field& field_;
  const toml::node& node_;
  const Source& source_;
};

/// Fills a config from one or more tables and remembers which keys were given.
class Binder {
 public:
  explicit Binder(TrainConfig& config) : fields_(fields_of(config)) {}

  void bind(const toml::table& table, const Source& source, const std::string& prefix = {}) {
    for (const auto& [name, node] : table) {
      const std::string key = prefix + std::string(name.str());
      // `schedule = "cosine"` is short for a table with that type.
      if (key == "optimizer.schedule" && !node.is_table())
        assign(key + ".type", node, source);
      else if (node.is_table() && is_section(key))
        bind(*node.as_table(), source, key + ".");
      else
        assign(key, node, source);
    }
  }

  bool given(std::string_view key) const { return given_.count(std::string(key)) > 0; }

  void check_required(const Source& source) const {
    for (const Field& field : fields_)
      if (field.required && !given(field.key))
        throw Error(fmt::format("{}: {} is missing", source.name, field.key),
                    fmt::format("add it to the file, or --set {}=…", field.key));
  }

 private:
  bool is_section(const std::string& key) const {
    return std::any_of(fields_.begin(), fields_.end(),
                       [&](const Field& f) { return f.key.starts_with(key + "."); });
  }

  void assign(const std::string& key, const toml::node& node, const Source& source) {
    if (is_section(key))
      throw Error(fmt::format("{}: {} = {} must be a table", source.name, key, text_of(node)));
    const auto field =
        std::find_if(fields_.begin(), fields_.end(), [&](const Field& f) { return f.key == key; });
    if (field == fields_.end()) fail_unknown(key, source);
    std::visit(Assign(*field, node, source), field->target);
    given_.insert(key);
  }

  [[noreturn]] void fail_unknown(const std::string& key, const Source& source) const {
    const std::string_view close = closest_key(fields_, key);
    throw Error(fmt::format("{}: unknown key {}", source.name, key),
                close.empty() ? "" : fmt::format("did you mean {}?", close));
  }

  std::vector<Field> fields_;
  std::set<std::string> given_;
};

toml::table parse_toml(std::string_view text, const std::string& name) {
  try {
    return toml::parse(text, name);
  } catch (const toml::parse_error& e) {
    throw Error(fmt::format("{}:{}:{}: {}", name, e.source().begin.line, e.source().begin.column,
                            e.description()));
  }
}

std::string trimmed(const std::string& text) {
  const size_t begin = text.find_first_not_of(' ');
  return begin == std::string::npos ? ""
                                    : text.substr(begin, text.find_last_not_of(' ') + 1 - begin);
}

toml::table parse_override(const std::string& text) {
  const size_t equals = text.find('=');
  const std::string key = trimmed(text.substr(0, equals));
  constexpr const char* kKeyCharacters = "abcdefghijklmnopqrstuvwxyz0123456789_.-";
  if (equals == std::string::npos || key.empty() ||
      key.find_first_not_of(kKeyCharacters) != std::string::npos)
    throw UsageError(fmt::format("--set {}: not of the form key=value", text),
                     "for example --set train.steps=100");
  const std::string value = trimmed(text.substr(equals + 1));
  const std::string name = "--set " + text;
  try {
    return toml::parse(fmt::format("{} = {}", key, value), name);
  } catch (const toml::parse_error&) {  // a bare string
    toml::table leaf;
    const size_t dot = key.rfind('.');
    leaf.insert(key.substr(dot + 1), value);
    if (dot == std::string::npos) return leaf;
    toml::table nested = parse_toml(key.substr(0, dot) + " = {}", name);
    nested.at_path(key.substr(0, dot)).as_table()->insert(key.substr(dot + 1), value);
    return nested;
  }
}

/// The points of the learning-rate schedule that were not given, from its type.
void derive_schedule(TrainConfig& config, const Binder& binder) {
  using Schedule = TrainConfig::Optimizer::Schedule;
  Schedule& s = config.optimizer.schedule;
  const int64_t warmup = std::min<int64_t>(2000, config.train.steps / 10);
  // TR §4.2: constant to 10T of 14.8T tokens, cosine over 4.3T from 2.2e-4 to 2.2e-5, constant for
  // 333B, then 7.3e-6.
  Schedule d = {s.type, warmup, 10 / 14.8, 14.3 / 14.8, 0.1, 14.633 / 14.8, 7.3 / 220};
  if (s.type == LrShape::kCosine) d = {s.type, warmup, 0, 1, 0.1, 1, 0.1};
  if (s.type == LrShape::kConstant) d = {s.type, warmup, 1, 1, 1, 1, 1};
  const auto fill = [&](const char* key, auto& value, auto fallback) {
    if (!binder.given(fmt::format("optimizer.schedule.{}", key))) value = fallback;
  };
  fill("warmup_steps", s.warmup_steps, d.warmup_steps);
  fill("constant_until", s.constant_until, d.constant_until);
  fill("cosine_until", s.cosine_until, d.cosine_until);
  fill("cosine_ratio", s.cosine_ratio, d.cosine_ratio);
  fill("tail_from", s.tail_from, d.tail_from);
  fill("tail_ratio", s.tail_ratio, d.tail_ratio);
}

void derive(TrainConfig& config, const Binder& binder) {
  derive_schedule(config, binder);
  if (!binder.given("train.batch_tokens_start"))
    config.train.batch_tokens_start = config.train.batch_tokens;
  if (binder.given("mtp.lambda") && !binder.given("mtp.lambda_final"))
    config.mtp.lambda_final = config.mtp.lambda;
  if (!binder.given("train.recompute"))
    config.train.recompute = config.train.precision == Precision::kFp8;
  if (config.fp8.emulate_hopper) {
    kernels::TensorCoreAccumulator& a = config.fp8.recipe.accumulator.emplace();
    a.promotion = config.fp8.promotion_interval;
  }
}

void check_fp8(const TrainConfig& config, const Source& source) {
  const TrainConfig::Fp8& f = config.fp8;
  if (config.train.precision == Precision::kFp8 && !config.train.recompute)
    throw Error(fmt::format("{}: train.recompute = false with train.precision = fp8", source.name),
                "the FP8 recipe recomputes; leave the key out");
  if (!f.emulate_hopper) return;
  const int64_t n = f.promotion_interval;
  if (n % f.recipe.accumulator->group != 0 || (n != 0 && n < 128 && 128 % n != 0))
    throw Error(fmt::format("{}: fp8.promotion_interval = {} is not possible", source.name, n),
                "use 32, 64, 128, a greater multiple of 32, or 0 for never");
  if (f.recipe.tiles() != Fp8Recipe{}.tiles() || f.recipe.gradient_format != kernels::Float8::kE4M3)
    throw Error(fmt::format("{}: fp8.emulate_hopper needs the paper's tiles and E4M3", source.name),
                "leave the other choices of [fp8] at their defaults");
}

void check_batch(const TrainConfig& config, const Source& source, const char* key, int64_t tokens) {
  const int64_t unit = config.data.seq_len * config.train.micro_batch;
  if (tokens % unit == 0) return;
  throw Error(
      fmt::format("{}: {} = {} is not a multiple of data.seq_len x train.micro_batch = {} x {}",
                  source.name, key, tokens, config.data.seq_len, config.train.micro_batch),
      fmt::format("for example {} = {}", key, (tokens + unit - 1) / unit * unit));
}

void check(const TrainConfig& config, const Source& source) {
  const auto& t = config.train;
  check_batch(config, source, "train.batch_tokens", t.batch_tokens);
  check_batch(config, source, "train.batch_tokens_start", t.batch_tokens_start);
  if ((t.batch_ramp_tokens > 0) != (t.batch_tokens_start != t.batch_tokens))
    throw Error(fmt::format("{}: a batch ramp needs both train.batch_tokens_start and "
                            "train.batch_ramp_tokens",
                            source.name),
                "or neither, for a constant batch");
  check_fp8(config, source);
  if (config.data.train.empty())
    throw Error(fmt::format("{}: data.train is an empty list", source.name));
  try {
    Schedule schedule(config);
  } catch (const Error& e) {
    throw Error(fmt::format("{}: {}", source.name, e.what()), e.hint());
  }
}

}  // namespace

TrainConfig parse_train_config(std::string_view text, const fs::path& path,
                               std::span<const std::string> overrides) {
  TrainConfig config;
  Binder binder(config);
  const Source file{path.string(), path.parent_path()};
  binder.bind(parse_toml(text, file.name), file);
  for (const std::string& text_override : overrides)
    binder.bind(parse_override(text_override), {"--set " + text_override, fs::path()});
  binder.check_required(file);
  derive(config, binder);
  check(config, file);
  return config;
}

TrainConfig load_train_config(const fs::path& path, std::span<const std::string> overrides) {
  return parse_train_config(read_text_file(path), path, overrides);
}

std::string TrainConfig::to_toml() const {
  TrainConfig copy = *this;
  std::string out;
  std::string_view section;
  for (const Field& field : fields_of(copy)) {
    const size_t dot = field.key.rfind('.');
    const std::string_view in = dot == std::string_view::npos ? "" : field.key.substr(0, dot);
    if (in != section) out += fmt::format("\n[{}]\n", in);
    section = in;
    out += fmt::format("{} = {}\n", field.key.substr(dot + 1), toml_value(field));
  }
  return out;
}

}  // namespace fathom::train
