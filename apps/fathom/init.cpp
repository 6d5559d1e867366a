#include <fmt/format.h>

#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "checkpoint/model_io.h"
#include "model/parameter_count.h"
#include "model_argument.h"
#include "options.h"
#include "report.h"

namespace fathom::app {
namespace fs = std::filesystem;

int run_init(const GlobalOptions& global, const InitArguments& options) {
  const ModelConfig config = config_of(options.model);
  if (fs::exists(fs::path(options.out) / "config.json"))
    throw Error(fmt::format("{} already holds a model", options.out), "choose another --out");
  const auto shard = static_cast<uint64_t>(options.max_shard_mb) * 1'000'000;
  make_directories(options.out);
  if (!options.tokenizer.empty()) copy_tokenizer(options.tokenizer, options.out);
  const DType dtype = options.dtype == "fp32" ? DType::kF32 : DType::kBF16;
  const uint64_t bytes = save_random_model(options.out, config, dtype, options.seed, shard);
  const ParameterCount n = count_parameters(config);
  Report report;
  report.add("out", options.out);
  report.add("parameters", n.total + n.mtp);
  report.add("bytes", static_cast<int64_t>(bytes));
  report.print(global.json);
  return 0;
}

}  // namespace fathom::app
