#include "command_line.h"

namespace fathom::app {

void add_bench(CommandLine& c) {
  CLI::App* sub = command(c.app, "bench", "Measure against a roof measured in the same run");
  sub->require_subcommand(1);
  const auto o = std::make_shared<BenchArguments>();
  auto add = [&](const char* name, const char* help,
                 int (*run)(const GlobalOptions&, const BenchArguments&)) {
    CLI::App* s = command(*sub, name, help);
    s->add_option("--model", o->model, "Model directory, config.json or preset")
        ->capture_default_str();
    add_precision(s, o->precision);
    s->add_option("--seconds", o->seconds, "How long to measure")
        ->check(CLI::PositiveNumber)
        ->capture_default_str();
    on_parse(c, s, run, o);
    return s;
  };
  CLI::App* train = add("train", "Training step: tokens/s, TFLOP/s, MFU", run_bench_train);
  train->add_option("--seq-len", o->seq_len, "Tokens a sequence")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  train->add_option("--micro-batch", o->micro_batch, "Sequences computed at once")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  CLI::App* decode = add("decode", "Decode tokens/s and its memory bound", run_bench_decode);
  decode->add_option("--prompt", o->prompt, "Tokens in the cache at the start")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  decode->add_option("--new-tokens", o->new_tokens, "Tokens decoded a run")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
}

}  // namespace fathom::app
