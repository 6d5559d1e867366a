#include "train/metrics.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/progress.h"

namespace fathom::train {
namespace {
using Json = nlohmann::ordered_json;

/// Name and value of all that every step has, in the order of writing.
std::vector<std::pair<const char*, std::optional<double>>> values_of(const StepMetrics& m) {
  return {{"loss", m.loss},
          {"mtp_loss", m.mtp_loss},
          {"balance_loss", m.balance_loss},
          {"lr", m.lr},
          {"grad_norm", m.grad_norm},
          {"tokens_per_s", m.tokens_per_s},
          {"tflops", m.tflops},
          {"mfu", m.mfu},
          {"max_violation", m.max_violation},
          {"activation_bytes", static_cast<double>(m.activation_bytes)},
          {"peak_rss_bytes", static_cast<double>(m.peak_rss_bytes)}};
}

Json json_of(const std::optional<double>& value) {
  return value ? Json(*value) : Json(nullptr);
}

Json json_of(const std::map<std::string, kernels::RoundingStatistics>& all) {
  Json json = Json::object();
  for (const auto& [name, s] : all)
    json[name] = {{"amax", s.amax}, {"underflow", s.underflow}, {"saturation", s.saturation}};
  return json;
}

int64_t step_of(std::string_view line) {
  const Json json = Json::parse(line, nullptr, false);
  const bool valid = json.is_object() && json.contains("step") && json["step"].is_number_integer();
  return valid ? json["step"].get<int64_t>() : -1;
}

/// The file up to the last whole line of a step not after last_step.
std::string kept_lines(const std::filesystem::path& path, int64_t last_step) {
  if (last_step == 0 || !std::filesystem::exists(path)) return {};
  std::string text = read_text_file(path);
  size_t end = 0;
  for (size_t next; (next = text.find('\n', end)) != std::string::npos; end = next + 1) {
    const int64_t step = step_of(std::string_view(text).substr(end, next - end));
    if (step < 0 || step > last_step) break;
  }
  text.resize(end);
  return text;
}

std::filesystem::path prepare(const std::filesystem::path& directory, int64_t last_step) {
  make_directories(directory);
  const auto path = directory / "metrics.jsonl";
  cut_back_lines(path, last_step);
  return path;
}

}  // namespace

void cut_back_lines(const std::filesystem::path& path, int64_t last_step) {
  write_text_file(path, kept_lines(path, last_step));
}

std::string to_json_line(const StepMetrics& m) {
  Json line = {{"step", m.step}, {"tokens", m.tokens}};
  for (const auto& [name, value] : values_of(m)) line[name] = json_of(value);
  if (m.valid_loss) line["valid_loss"] = *m.valid_loss;
  if (m.valid_loss && !m.expert_loads.empty()) line["expert_loads"] = m.expert_loads;
  if (!m.fp8_stats.empty()) line["fp8_stats"] = json_of(m.fp8_stats);
  return line.dump() + "\n";
}

std::string progress_note(const StepMetrics& m) {
  std::string note = fmt::format("loss {:.3f}", m.loss);
  if (m.valid_loss) note += fmt::format("  valid {:.3f}", *m.valid_loss);
  return note + fmt::format("  lr {:.1e}  |g| {:.2f}  {}/s", m.lr, m.grad_norm,
                            format_quantity(m.tokens_per_s, "tok"));
}

MetricsWriter::MetricsWriter(const std::filesystem::path& directory, int64_t last_step)
    : lines_(prepare(directory, last_step)), events_(directory / "tensorboard", last_step + 1) {}

void MetricsWriter::write(const StepMetrics& m) {
  lines_.append(to_json_line(m));
  std::vector<Scalar> scalars = {{"tokens", static_cast<float>(m.tokens)}};
  for (const auto& [name, value] : values_of(m))
    if (value) scalars.emplace_back(name, static_cast<float>(*value));
  if (m.valid_loss) scalars.emplace_back("valid_loss", static_cast<float>(*m.valid_loss));
  events_.add(m.step, scalars);
}

}  // namespace fathom::train
