#include "train/config_fields.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <type_traits>

namespace fathom::train {
namespace {

Range at_least(double min) {
  return {.min = min};
}
/// Keeps sums and products of counts, steps x batch_tokens the largest, far from overflow.
Range count_up_to(double max) {
  return {.min = 1, .max = max};
}
Range above_zero() {
  return {.min = 0, .open_min = true};
}
Range share() {
  return {.min = 0, .max = 1};
}
Range below_one() {
  return {.min = 0, .max = 1, .open_max = true};
}

template <class E>
Choice choice(E& value, std::vector<std::string_view> names) {
  return {std::move(names), [&value] { return static_cast<size_t>(value); },
          [&value](size_t i) { value = static_cast<E>(i); }};
}

/// One of a few values with names.
template <class T>
Choice named_choice(T& value, std::vector<std::pair<std::string_view, T>> table) {
  Choice c;
  for (const auto& [name, each] : table) c.names.push_back(name);
  c.get = [&value, table] {
    const auto at = std::find_if(table.begin(), table.end(),
                                 [&](const auto& entry) { return entry.second == value; });
    return static_cast<size_t>(at - table.begin());
  };
  c.set = [&value, table](size_t i) { value = table[i].second; };
  return c;
}

Choice tile_choice(kernels::ScaleTile& tile, std::string_view name, kernels::ScaleTile fine) {
  return named_choice<kernels::ScaleTile>(
      tile, {{name, fine}, {"128x128", kernels::kBlock128x128}, {"tensor", kernels::kPerTensor}});
}

std::string toml_string(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\')
      out += fmt::format("\\{}", c);
    else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
      out += fmt::format("\\u{:04X}", static_cast<unsigned>(c));
    else
      out += c;
  }
  return out + '"';
}

/// The shortest digits that read back as the same double, and always as a float.
std::string toml_float(double x) {
  std::string text = fmt::format("{}", x);
  if (text.find_first_of(".en") == std::string::npos) text += ".0";
  return text;
}

size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i + 1;
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t replace = diagonal + (a[i] != b[j]);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replace, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row[b.size()];
}

std::string_view last_part(std::string_view key) {
  return key.substr(key.rfind('.') + 1);
}

}  // namespace

bool Range::contains(double x) const {
  return std::isfinite(x) && (open_min ? x > min : x >= min) && (open_max ? x < max : x <= max);
}

std::string Range::text() const {
  if (std::isfinite(max))
    return fmt::format("in {}{}, {}{}", open_min ? '(' : '[', min, max, open_max ? ')' : ']');
  if (std::isfinite(min)) return fmt::format("{} {}", open_min ? "above" : "at least", min);
  return "finite";
}

std::vector<Field> fields_of(TrainConfig& c) {
  auto& [type, warmup, constant_until, cosine_until, cosine_ratio, tail_from, tail_ratio] =
      c.optimizer.schedule;
  const auto storage = [](Precision& p) { return choice(p, {"fp32", "bf16"}); };
  Fp8Recipe& fp8 = c.fp8.recipe;
  const auto row_tile = [](kernels::ScaleTile& t) {
    return tile_choice(t, "1x128", kernels::kTile1x128);
  };
  const auto column_tile = [](kernels::ScaleTile& t) {
    return tile_choice(t, "128x1", kernels::kTile128x1);
  };
  return {
      {"model", &c.model, {}, true},
      {"data.train", &c.data.train, {}, true},
      {"data.valid", &c.data.valid},
      {"data.valid_fraction", &c.data.valid_fraction, below_one()},
      {"data.tokenizer", &c.data.tokenizer},
      {"data.seq_len", &c.data.seq_len, count_up_to(1e8)},
      {"data.fim_rate", &c.data.fim_rate, share()},
      {"data.shuffle", &c.data.shuffle},
      {"data.cache_dir", &c.data.cache_dir},
      {"train.steps", &c.train.steps, count_up_to(1e8), true},
      {"train.batch_tokens", &c.train.batch_tokens, count_up_to(1e10), true},
      {"train.batch_tokens_start", &c.train.batch_tokens_start, count_up_to(1e10)},
      {"train.batch_ramp_tokens", &c.train.batch_ramp_tokens, at_least(0)},
      {"train.micro_batch", &c.train.micro_batch, count_up_to(1e6)},
      {"train.precision", choice(c.train.precision, {"fp32", "bf16", "fp8"})},
      {"train.recompute", &c.train.recompute},
      {"train.seed", &c.train.seed, at_least(0)},
      {"train.eval_every", &c.train.eval_every, at_least(0)},
      {"train.eval_tokens", &c.train.eval_tokens, at_least(0)},
      {"train.checkpoint_every", &c.train.checkpoint_every, at_least(0)},
      {"train.keep_checkpoints", &c.train.keep_checkpoints, at_least(0)},
      {"train.log_batches", &c.train.log_batches},
      {"train.loss_spike_factor", &c.train.loss_spike_factor, at_least(1)},
      {"train.loss_spike_sigmas", &c.train.loss_spike_sigmas, at_least(0)},
      {"train.loss_spike_steps", &c.train.loss_spike_steps, at_least(0)},
      {"fp8.scale", choice(fp8.scale, {"fp32", "power-of-two"})},
      {"fp8.weight_tile",
       named_choice<kernels::ScaleTile>(fp8.weight_tile, {{"128x128", kernels::kBlock128x128},
                                                          {"tensor", kernels::kPerTensor}})},
      {"fp8.input_tile", row_tile(fp8.input_tile)},
      {"fp8.gradient_tile", row_tile(fp8.gradient_tile)},
      {"fp8.input_for_weight_tile", column_tile(fp8.input_for_weight_tile)},
      {"fp8.gradient_for_weight_tile", column_tile(fp8.gradient_for_weight_tile)},
      {"fp8.gradient_format", choice(fp8.gradient_format, {"e4m3", "e5m2"})},
      {"fp8.bf16_modules", &fp8.bf16_modules},
      {"fp8.emulate_hopper", &c.fp8.emulate_hopper},
      {"fp8.promotion_interval", &c.fp8.promotion_interval, at_least(0)},
      {"fp8.statistics", &c.fp8.statistics},
      {"optimizer.lr", &c.optimizer.lr, above_zero()},
      {"optimizer.betas", &c.optimizer.betas, below_one()},
      {"optimizer.eps", &c.optimizer.eps, above_zero()},
      {"optimizer.weight_decay", &c.optimizer.weight_decay, at_least(0)},
      {"optimizer.grad_clip", &c.optimizer.grad_clip, at_least(0)},
      {"optimizer.moments", storage(c.optimizer.moments)},
      {"optimizer.ema_decay", &c.optimizer.ema_decay, below_one()},
      {"optimizer.schedule.type", choice(type, {"constant", "cosine", "deepseek-v3"})},
      {"optimizer.schedule.warmup_steps", &warmup, at_least(0)},
      {"optimizer.schedule.constant_until", &constant_until, at_least(0)},
      {"optimizer.schedule.cosine_until", &cosine_until, at_least(0)},
      {"optimizer.schedule.cosine_ratio", &cosine_ratio, share()},
      {"optimizer.schedule.tail_from", &tail_from, at_least(0)},
      {"optimizer.schedule.tail_ratio", &tail_ratio, share()},
      {"moe.bias_update_speed", &c.moe.bias_update_speed, at_least(0)},
      {"moe.bias_update_until", &c.moe.bias_update_until, at_least(0)},
      {"moe.balance_alpha", &c.moe.balance_alpha, at_least(0)},
      {"mtp.lambda", &c.mtp.lambda, at_least(0)},
      {"mtp.lambda_final", &c.mtp.lambda_final, at_least(0)},
      {"mtp.lambda_switch", &c.mtp.lambda_switch, at_least(0)},
  };
}

std::string_view closest_key(const std::vector<Field>& fields, std::string_view key) {
  std::string_view best;
  size_t best_distance = std::max<size_t>(2, key.size() / 3) + 1;
  for (const Field& field : fields) {
    // A right name in the wrong section is as close as can be, a shortened one comes next.
    const size_t distance = last_part(field.key) == last_part(key) ? 0
                            : field.key.starts_with(key)           ? 1
                                                                   : edit_distance(field.key, key);
    if (distance < best_distance) {
      best = field.key;
      best_distance = distance;
    }
  }
  return best;
}

std::string toml_value(const Field& field) {
  struct Print {
    std::string operator()(const std::string* s) const { return toml_string(*s); }
    std::string operator()(const std::filesystem::path* p) const {
      return toml_string(p->string());
    }
    std::string operator()(const std::vector<std::filesystem::path>* paths) const {
      std::vector<std::string> names;
      for (const auto& path : *paths) names.push_back(path.string());
      return (*this)(&names);
    }
    std::string operator()(const std::vector<std::string>* names) const {
      std::string list;
      for (const auto& name : *names)
        list += fmt::format("{}{}", list.empty() ? "" : ", ", toml_string(name));
      return fmt::format("[{}]", list);
    }
    std::string operator()(const int64_t* i) const { return fmt::to_string(*i); }
    std::string operator()(const double* x) const { return toml_float(*x); }
    std::string operator()(const bool* b) const { return *b ? "true" : "false"; }
    std::string operator()(const std::array<double, 2>* a) const {
      return fmt::format("[{}, {}]", toml_float((*a)[0]), toml_float((*a)[1]));
    }
    std::string operator()(const Choice& c) const { return toml_string(c.names[c.get()]); }
  };
  return std::visit(Print{}, field.target);
}

}  // namespace fathom::train
