#include <fmt/format.h>

#include <filesystem>
#include <map>
#include <optional>

#include "base/error.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "checkpoint/atomic_directory.h"
#include "checkpoint/gguf_tokenizer.h"
#include "checkpoint/model_io.h"
#include "checkpoint/quantization_error.h"
#include "held_out.h"
#include "model_argument.h"
#include "options.h"
#include "output_directory.h"
#include "report.h"
#include "session.h"

namespace fathom::app {
namespace fs = std::filesystem;
namespace {

WeightFormat format_of(const QuantizeArguments& options) {
  if (options.dtype == "bf16") return DType::kBF16;
  if (options.dtype == "fp8") {
    WeightFormat format = DType::kE4M3;
    if (options.power_of_two) format.quantization->scale_fmt = "ue8m0";
    return format;
  }
  return WeightFormat::integers(options.dtype == "int4" ? 4 : 8, options.group_size,
                                !options.zero_points);
}

void check_options(const QuantizeArguments& options) {
  if (options.group_size % 32 != 0)
    throw UsageError(fmt::format("--group-size {} is not a multiple of 32", options.group_size),
                     "give 32, 64, 128, or 0 for one scale a row");
  const auto only = [&](bool given, const char* option, bool has, const char* formats) {
    if (given && !has)
      throw UsageError(fmt::format("{} has no meaning with --dtype {}", option, options.dtype),
                       fmt::format("it is for {}", formats));
  };
  only(options.zero_points, "--zero-points", options.dtype.starts_with("int"), "int4 and int8");
  only(options.power_of_two, "--power-of-two", options.dtype == "fp8", "fp8");
}

// One parameter at a time: a checkpoint larger than memory passes through.
uint64_t write_quantized(Context& ctx, const StoredModel& source, const fs::path& out,
                         const WeightFormat& format, uint64_t shard_bytes, QuantizationError& error,
                         const InterruptGuard& interrupt) {
  std::map<std::string, Parameter> parameters;
  ModelWeights weights = source.weights;
  for_each_parameter(source.config, weights, [&](const ParameterInfo& info, Parameter& p) {
    parameters.emplace(info.name, p);
  });
  return write_model(
      ctx, out, source.config, format, shard_bytes,
      [&](const ParameterInfo& info, DType dtype) {
        interrupt.throw_if_requested();
        Tensor values = make_tensor(dtype, info.shape);
        read_parameter(ctx, parameters.at(info.name), values);
        return values;
      },
      [&](const ParameterInfo& info, ConstTensorView values, const Parameter& stored) {
        if (is_quantizable(info)) error.add(ctx, info, values, stored);
      });
}

// Beside a GGUF file may lie anything: of that, the tokenizer; else that of the file itself.
void write_tokenizer_of_gguf(const fs::path& model, const fs::path& out) {
  const fs::path beside = tokenizer_of(model.string());
  if (fs::exists(beside / "tokenizer.json")) return copy_tokenizer(beside, out);
  try {
    if (const auto vocabulary = gguf_vocabulary(model))
      return save_tokenizer(*vocabulary, model.string(), out);
    log_warning("the file has no vocabulary: none is written", {{"model", model.string()}});
  } catch (const Error& e) {
    log_warning("no tokenizer is written", {{"model", model.string()}, {"reason", e.what()}});
  }
}

// Tokenizer, chat template, licence, model card: all that is neither weights nor their description.
void copy_companions(const fs::path& model, const fs::path& out) {
  if (is_gguf(model)) return write_tokenizer_of_gguf(model, out);
  for (const fs::directory_entry& entry : fs::directory_iterator(model)) {
    const std::string name = entry.path().filename().string();
    const bool replaced = name == "config.json" || name == "generation_config.json" ||
                          name == "checksums.json" || name.ends_with(".safetensors") ||
                          name.ends_with(".safetensors.index.json");
    if (entry.is_regular_file() && !replaced)
      write_text_file(out / name, read_text_file(entry.path()));
  }
}

// The published one says more than the model's own does: sampling, all ends of a text.
void copy_generation_config(const fs::path& model, const fs::path& out) {
  const char* name = "generation_config.json";
  if (!is_gguf(model) && fs::exists(model / name))
    write_text_file(out / name, read_text_file(model / name));
}

std::vector<Report> error_reports(const QuantizationError& error) {
  std::vector<Report> list;
  for (const QuantizationError::Entry& e : error.entries()) {
    Report r;
    r.add("layer", e.layer);
    r.add("module", e.module);
    r.add("relative_rms", e.relative_rms, fmt::format("{:.3f}%", 100 * e.relative_rms));
    list.push_back(std::move(r));
  }
  return list;
}

// A line a layer, a column a kind of module.
std::string error_table(const QuantizationError& error) {
  std::map<int64_t, std::string> lines;
  for (const QuantizationError::Entry& e : error.entries())
    lines[e.layer] += fmt::format("  {} {:.2f}%", e.module, 100 * e.relative_rms);
  std::string text;
  for (const auto& [layer, line] : lines) text += fmt::format("\n  layer {:>3}{}", layer, line);
  return text;
}

// --eval: read and measured before anything is written, so that a wrong file costs no time.
struct Losses {
  HeldOutText text;
  double before = 0, after = 0;
};

Losses losses_before(Session& session, const StoredModel& source, const QuantizeArguments& o) {
  Losses losses;
  losses.text = read_held_out(session.pool, source.config, load_tokenizer(o.model), o.eval);
  losses.before = held_out_loss(session, source, losses.text, o.seq_len, o.precision);
  return losses;
}

void add_losses(Report& report, const Losses& l) {
  report.add("loss_before", l.before, fmt::format("{:.4f} nats a token", l.before));
  report.add(
      "loss", l.after,
      fmt::format("{:.4f} nats a token ({:+.3f}%)", l.after, 100 * (l.after / l.before - 1)));
}

}  // namespace

int run_quantize(const GlobalOptions& global, const QuantizeArguments& options) {
  check_options(options);
  check_unused(options.out);
  Session session(global);
  QuantizationError error;
  std::optional<Losses> losses;
  uint64_t before = 0, bytes = 0;
  {
    const StoredModel source = StoredModel::open(options.model);
    before = source.bytes;
    if (!options.eval.empty()) losses = losses_before(session, source, options);
    const InterruptGuard interrupt;
    AtomicDirectory out(options.out);
    copy_companions(options.model, out.path());
    bytes =
        write_quantized(session.ctx, source, out.path(), format_of(options),
                        static_cast<uint64_t>(options.max_shard_mb) * 1'000'000, error, interrupt);
    copy_generation_config(options.model, out.path());
    out.commit();
  }
  if (losses)
    losses->after = held_out_loss(session, StoredModel::open(options.out), losses->text,
                                  options.seq_len, options.precision);
  Report report;
  report.add("out", options.out);
  report.add("dtype", options.dtype);
  report.add("bytes_before", static_cast<int64_t>(before));
  report.add("bytes", static_cast<int64_t>(bytes));
  report.add("relative_rms", error.total(), fmt::format("{:.3f}%", 100 * error.total()));
  if (global.json)
    report.add("layers", error_reports(error));
  else
    report.add("relative RMS error", error_table(error));
  if (losses) add_losses(report, *losses);
  report.print(global.json);
  return 0;
}

}  // namespace fathom::app
