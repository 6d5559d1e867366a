#include "base/interrupt.h"
#include "checkpoint/atomic_directory.h"
#include "checkpoint/model_io.h"
#include "model/parameter_count.h"
#include "model_argument.h"
#include "options.h"
#include "output_directory.h"
#include "report.h"
#include "session.h"

namespace fathom::app {
namespace {

// FP8 keeps what a config.json says of its scales.
WeightFormat format_of(const std::string& dtype, const ModelConfig& config) {
  if (dtype == "fp32") return DType::kF32;
  if (dtype == "bf16") return DType::kBF16;
  WeightFormat format = DType::kE4M3;
  if (config.quantization && config.quantization->is_fp8())
    format.quantization = config.quantization;
  return format;
}

}  // namespace

int run_init(const GlobalOptions& global, const InitArguments& options) {
  const ModelConfig config = config_of(options.model);
  check_unused(options.out);
  const auto shard = static_cast<uint64_t>(options.max_shard_mb) * 1'000'000;
  Session session(global);
  const InterruptGuard interrupt;
  AtomicDirectory out(options.out);
  if (!options.tokenizer.empty()) copy_tokenizer(options.tokenizer, out.path());
  const uint64_t bytes =
      save_random_model(session.ctx, out.path(), config, format_of(options.dtype, config),
                        options.seed, shard, &interrupt);
  out.commit();
  const ParameterCount n = count_parameters(config);
  Report report;
  report.add("out", options.out);
  report.add("parameters", n.total + n.mtp);
  report.add("bytes", static_cast<int64_t>(bytes));
  report.print(global.json);
  return 0;
}

}  // namespace fathom::app
