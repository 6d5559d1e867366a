#include "command_line.h"
#include "compare.h"

namespace fathom::app {

void add_compare(CommandLine& c) {
  CLI::App* sub = command(c.app, "compare", "Losses, speed and memory of runs side by side");
  CompareArguments& o = options_of(c, sub, run_compare);
  sub->add_option("runs", o.runs, "Directories of runs; the first is the baseline")
      ->required()
      ->expected(1, 64);
  sub->add_option("--ema", o.ema, "Weight of the past in the moving average of the losses")
      ->check(CLI::Range(0.0, 0.9999))
      ->capture_default_str();
  sub->add_option("--warmup", o.warmup,
                  "Relative errors count after this step (default: the baseline's warm-up)")
      ->check(zero_or_more());
  sub->add_option("--svg", o.svg, "Draw losses and relative errors into this file");
  sub->add_flag("--curves", o.curves, "Every step's values, in the JSON document");
}

}  // namespace fathom::app
