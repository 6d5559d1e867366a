#pragma once

// For the files that register subcommands, cli*.cpp: CLI11 is the heaviest header of the project.

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>

#include "options.h"

namespace fathom::app {

/// What parsing decides: the options of every subcommand, and which one runs.
struct CommandLine {
  CLI::App app{"Fathom: train, run and size DeepSeek-V3-architecture models", "fathom"};
  GlobalOptions global;
  std::function<int()> run;
};

/// CLI11's own name the largest double, in 300 digits, when they refuse.
CLI::Validator above_zero();
CLI::Validator zero_or_more();

/// A subcommand that also takes the global options.
CLI::App* command(CLI::App& parent, const char* name, const char* help);

/// Lets `run` be called with `options` when the subcommand is chosen.
template <class Options>
void on_parse(CommandLine& c, CLI::App* sub, int (*run)(const GlobalOptions&, const Options&),
              std::shared_ptr<Options> options) {
  sub->callback(
      [&c, run, options] { c.run = [&c, run, options] { return run(c.global, *options); }; });
}

/// The same with options of its own, to be filled by the caller's add_option calls.
template <class Options>
Options& options_of(CommandLine& c, CLI::App* sub,
                    int (*run)(const GlobalOptions&, const Options&)) {
  auto options = std::make_shared<Options>();
  on_parse(c, sub, run, options);
  return *options;
}

CLI::Option* add_precision(CLI::App* sub, std::string& precision, bool with_fp8 = false);
CLI::Option* add_cache_dtype(CLI::App* sub, std::string& dtype, const char* help);

/// Families of subcommands with a file of their own.
void add_bench(CommandLine& c);
void add_compare(CommandLine& c);
void add_net(CommandLine& c);
void add_plan(CommandLine& c);
void add_plan_schedule(CommandLine& c, CLI::App& plan);
void add_plan_experts(CommandLine& c, CLI::App& plan);

}  // namespace fathom::app
