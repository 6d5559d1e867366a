#include "train/run.h"

#include <fmt/format.h>

#include "base/log.h"
#include "base/progress.h"
#include "options.h"
#include "report.h"
#include "session.h"

namespace fathom::app {
namespace {

// What a shell reports of a process that a signal ended, so that scripts can tell a run that was
// stopped and saved from one that finished.
constexpr int kInterrupted = 130;

}  // namespace

int run_train(const GlobalOptions& global, const TrainArguments& options) {
  const train::TrainConfig config = train::load_train_config(options.config, options.set);
  Session session(global);
  const train::RunResult r = train::run_training(session.ctx, config, options.out, options.resume);
  Report report;
  report.add("model", r.model.string());
  report.add("steps", r.last.step);
  report.add("tokens", r.last.tokens);
  report.add("loss", r.last.loss);
  if (r.valid_loss) report.add("valid_loss", *r.valid_loss);
  report.add("tokens_per_s", r.last.tokens_per_s);
  report.add("tflops", r.last.tflops, fmt::format("{:.4f} TFLOP/s, causal", r.last.tflops));
  report.add("mfu", r.last.mfu, fmt::format("{:.1f}%", 100 * r.last.mfu));
  report.add("seconds", r.seconds, format_duration(r.seconds));
  report.add("finished", r.finished);
  report.print(global.json);
  if (r.finished) return 0;
  log_info("stopped on a signal; continue with --resume", {{"checkpoint", r.model.string()}});
  return kInterrupted;
}

}  // namespace fathom::app
