// The whole command line in one place: CLI11 is the heaviest header of the project.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <functional>

#include "base/cpu.h"
#include "base/error.h"
#include "options.h"

namespace fathom::app {
namespace {

using Run = std::function<int()>;

// What parsing decides: the options of all subcommands, and which one runs.
struct CommandLine {
  CLI::App app{"Fathom: train, run and size DeepSeek-V3-architecture models", "fathom"};
  GlobalOptions global;
  DoctorArguments doctor;
  TokenizerTrainArguments tokenizer_train;
  TokenizerEncodeArguments tokenizer_encode;
  TokenizerDecodeArguments tokenizer_decode;
  InitArguments init;
  TrainArguments train;
  EvalArguments eval;
  GenerateArguments generate;
  ChatArguments chat;
  DebugArguments debug;
  InspectArguments inspect;
  BenchArguments bench;
  Run run;
};

CLI::App* command(CLI::App& parent, const char* name, const char* help) {
  CLI::App* sub = parent.add_subcommand(name, help);
  sub->fallthrough();
  return sub;
}

template <class Options>
void on_parse(CommandLine& c, CLI::App* sub, int (*run)(const GlobalOptions&, const Options&),
              const Options& options) {
  sub->callback(
      [&c, run, &options] { c.run = [&c, run, &options] { return run(c.global, options); }; });
}

CLI::Option* add_precision(CLI::App* sub, std::string& precision) {
  return sub->add_option("--precision", precision, "Arithmetic of matrix products")
      ->check(CLI::IsMember({"fp32", "bf16"}))
      ->capture_default_str();
}

CLI::Option* add_model(CLI::App* sub, std::string& model) {
  return sub->add_option("--model", model, "Model directory in Hugging Face layout")->required();
}

CLI::Option* add_ids(CLI::App* sub, std::vector<int32_t>& ids) {
  return sub->add_option("--ids", ids, "Token ids, separated by commas")->delimiter(',');
}

void add_global(CommandLine& c) {
  c.app.require_subcommand(1);
  c.app.add_flag("--json", c.global.json, "Print one JSON document on standard output");
  c.app.add_option("--threads", c.global.threads, "Threads (default: all usable processors)")
      ->check(CLI::Range(1, 4096));
  c.app.add_option("--isa", c.global.isa, "Instruction set of the kernels")
      ->check(CLI::IsMember({"auto", "scalar", "avx2", "avx512", "avx512_bf16", "amx"}))
      ->capture_default_str();
  c.app.footer("Run 'fathom COMMAND --help' for the options of a command.");
}

void add_version(CommandLine& c) {
  CLI::App* sub = command(c.app, "version", "Print build and machine");
  sub->callback([&c] { c.run = [&c] { return run_version(c.global); }; });
}

void add_doctor(CommandLine& c) {
  CLI::App* sub = command(c.app, "doctor", "Measure this machine; predict decode speed");
  sub->add_option("--model", c.doctor.model,
                  "Model directory, config.json or preset to predict decode speed for");
  on_parse(c, sub, run_doctor, c.doctor);
}

void add_tokenizer(CommandLine& c) {
  CLI::App* sub = command(c.app, "tokenizer", "Train a tokenizer, encode, decode");
  sub->require_subcommand(1);
  CLI::App* train = command(*sub, "train", "Train a byte-level BPE tokenizer on text files");
  train->add_option("--input", c.tokenizer_train.input, "Text files")->required();
  train->add_option("--vocab-size", c.tokenizer_train.vocab_size, "Number of tokens")
      ->required()
      ->check(CLI::Range(1, 16'000'000));
  train->add_option("--out", c.tokenizer_train.out, "Directory to write")->required();
  on_parse(c, train, run_tokenizer_train, c.tokenizer_train);

  CLI::App* encode = command(*sub, "encode", "Text to token ids");
  add_model(encode, c.tokenizer_encode.model);
  auto* source = encode->add_option_group("source", "What to encode");
  source->add_option("--text", c.tokenizer_encode.text, "The text itself");
  source->add_option("--input", c.tokenizer_encode.input, "A file");
  source->require_option(1);
  encode->add_flag("--no-special", c.tokenizer_encode.no_special,
                   "Add no begin-of-sequence token and read special tokens as plain text");
  on_parse(c, encode, run_tokenizer_encode, c.tokenizer_encode);

  CLI::App* decode = command(*sub, "decode", "Token ids to text");
  add_model(decode, c.tokenizer_decode.model);
  add_ids(decode, c.tokenizer_decode.ids)->required();
  decode->add_flag("--skip-special", c.tokenizer_decode.skip_special, "Leave out special tokens");
  on_parse(c, decode, run_tokenizer_decode, c.tokenizer_decode);
}

void add_init(CommandLine& c) {
  CLI::App* sub = command(c.app, "init", "Write a random checkpoint of a given shape");
  sub->add_option("--model", c.init.model, "config.json, or a preset's name")->required();
  sub->add_option("--out", c.init.out, "Directory to write")->required();
  sub->add_option("--tokenizer", c.init.tokenizer, "Directory whose tokenizer is copied");
  sub->add_option("--dtype", c.init.dtype, "Storage format")
      ->check(CLI::IsMember({"bf16", "fp32"}))
      ->capture_default_str();
  sub->add_option("--seed", c.init.seed, "Seed")->capture_default_str();
  sub->add_option("--max-shard-mb", c.init.max_shard_mb, "Largest file, in MB")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  on_parse(c, sub, run_init, c.init);
}

void add_train(CommandLine& c) {
  CLI::App* sub = command(c.app, "train", "Train a model");
  sub->add_option("config", c.train.config, "Training configuration (TOML)")->required();
  sub->add_option("--set", c.train.set, "Override a key: --set optimizer.lr=1e-3")
      ->take_all()
      ->expected(1);
  sub->add_option("--out", c.train.out, "Directory of the run")->required();
  sub->add_flag("--resume", c.train.resume, "Continue from the run's last checkpoint");
  on_parse(c, sub, run_train, c.train);
}

void add_eval(CommandLine& c) {
  CLI::App* sub = command(c.app, "eval", "Held-out loss on a text");
  add_model(sub, c.eval.model);
  sub->add_option("--text", c.eval.text, "Text file")->required();
  sub->add_option("--seq-len", c.eval.seq_len, "Tokens a window")->check(CLI::PositiveNumber);
  add_precision(sub, c.eval.precision);
  on_parse(c, sub, run_eval, c.eval);
}

void add_sampling(CLI::App* sub, SamplingArguments& s) {
  sub->add_option("--temperature", s.temperature, "0 is greedy")
      ->check(CLI::Range(0.0, 100.0))
      ->capture_default_str();
  sub->add_option("--top-p", s.top_p, "Nucleus: smallest set of this probability")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  sub->add_option("--top-k", s.top_k, "Only the K best tokens; 0 is all")
      ->check(CLI::NonNegativeNumber);
  sub->add_option("--min-p", s.min_p, "Drop tokens below this share of the best one's probability")
      ->check(CLI::Range(0.0, 1.0));
  sub->add_option("--repetition-penalty", s.repetition_penalty, "Above 1 discourages repetition")
      ->check(CLI::PositiveNumber);
  sub->add_option("--seed", s.seed, "Seed of the sampling");
  add_precision(sub, s.precision);
  sub->add_option("--speculate", s.speculate, "Draft tokens with the MTP module")
      ->check(CLI::IsMember({"off", "mtp"}))
      ->capture_default_str();
  sub->add_option("--drafts", s.drafts, "Tokens drafted a step (default: one a MTP module)")
      ->check(CLI::Range(0, 15));
  sub->add_option("--max-context", s.max_context, "Longest context, in tokens")
      ->check(CLI::PositiveNumber);
}

void add_generate(CommandLine& c) {
  GenerateArguments& o = c.generate;
  CLI::App* sub = command(c.app, "generate", "Continue a prompt");
  add_model(sub, o.model);
  auto* source = sub->add_option_group("prompt", "What to continue");
  source->add_option("--prompt", o.prompt, "The text itself");
  source->add_option("--prompt-file", o.prompt_file, "A file");
  add_ids(source, o.ids);
  source->require_option(1);
  sub->add_option("--max-new-tokens", o.max_new_tokens, "Stop after so many")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  sub->add_flag("--ignore-eos", o.ignore_eos, "Go on after the end-of-sequence token");
  sub->add_option("--stop", o.stop, "Stop before this text (may be repeated)")
      ->take_all()
      ->expected(1);
  sub->add_option("--logprobs", o.logprobs, "Report log-probabilities, and the N best tokens")
      ->check(CLI::Range(0, 1000));
  add_sampling(sub, o.sampling);
  on_parse(c, sub, run_generate, o);
}

void add_chat(CommandLine& c) {
  CLI::App* sub = command(c.app, "chat", "Talk with a model");
  add_model(sub, c.chat.model);
  sub->add_option("--system", c.chat.system, "System text");
  sub->add_option("--max-new-tokens", c.chat.max_new_tokens, "Longest reply")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  add_sampling(sub, c.chat.sampling);
  on_parse(c, sub, run_chat, c.chat);
}

void add_debug(CommandLine& c) {
  CLI::App* sub = command(c.app, "debug", "Write logits or gradients, for comparison");
  sub->require_subcommand(1);
  auto add = [&](const char* name, const char* help,
                 int (*run)(const GlobalOptions&, const DebugArguments&)) {
    CLI::App* s = command(*sub, name, help);
    add_model(s, c.debug.model);
    add_ids(s, c.debug.ids)->required();
    s->add_option("--out", c.debug.out, "Safetensors file to write")->required();
    add_precision(s, c.debug.precision);
    on_parse(c, s, run, c.debug);
    return s;
  };
  add("logits", "Logits of every position, and of the MTP modules", run_debug_logits);
  CLI::App* gradients = add("gradients", "Gradient of the mean next-token loss for every parameter",
                            run_debug_gradients);
  gradients->add_option("--mtp-lambda", c.debug.mtp_lambda, "Add the MTP loss with this weight")
      ->check(CLI::NonNegativeNumber);
  gradients->add_option("--balance-alpha", c.debug.balance_alpha, "Add the balance loss")
      ->check(CLI::NonNegativeNumber);
}

void add_inspect(CommandLine& c) {
  CLI::App* sub = command(c.app, "inspect", "Shape, parameters and memory of a model");
  sub->add_option("--model", c.inspect.model, "Model directory, config.json or preset")->required();
  on_parse(c, sub, run_inspect, c.inspect);
}

void add_bench(CommandLine& c) {
  CLI::App* sub = command(c.app, "bench", "Measure against a roof measured in the same run");
  sub->require_subcommand(1);
  auto add = [&](const char* name, const char* help,
                 int (*run)(const GlobalOptions&, const BenchArguments&)) {
    CLI::App* s = command(*sub, name, help);
    s->add_option("--model", c.bench.model, "Model directory, config.json or preset")
        ->capture_default_str();
    add_precision(s, c.bench.precision);
    s->add_option("--seconds", c.bench.seconds, "How long to measure")
        ->check(CLI::PositiveNumber)
        ->capture_default_str();
    on_parse(c, s, run, c.bench);
    return s;
  };
  CLI::App* train = add("train", "Training step: tokens/s, TFLOP/s, MFU", run_bench_train);
  train->add_option("--seq-len", c.bench.seq_len, "Tokens a sequence")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  train->add_option("--micro-batch", c.bench.micro_batch, "Sequences computed at once")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  CLI::App* decode = add("decode", "Decode tokens/s and its memory bound", run_bench_decode);
  decode->add_option("--prompt", c.bench.prompt, "Tokens in the cache at the start")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  decode->add_option("--new-tokens", c.bench.new_tokens, "Tokens decoded a run")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
}

// "fathom tokenizer train": as far as the command line could be understood.
std::string chosen_command(const CLI::App& app) {
  const std::vector<CLI::App*> chosen = app.get_subcommands();
  return app.get_name() + (chosen.empty() ? "" : " " + chosen_command(*chosen.front()));
}

// CLI11 reports a missing command where a wrong one was given.
std::string explain(const CLI::App& app, const CLI::ParseError& e) {
  const std::vector<std::string> rest = app.remaining(true);
  if (e.get_name() != "RequiredError" || rest.empty()) return e.what();
  return fmt::format("'{}' is not understood: {}", rest.front(), e.what());
}

}  // namespace

int run_command_line(int argc, char** argv) {
  available_isas();  // asks the kernel for AMX before any thread exists
  CommandLine c;
  add_global(c);
  add_version(c);
  add_doctor(c);
  add_tokenizer(c);
  add_init(c);
  add_train(c);
  add_eval(c);
  add_generate(c);
  add_chat(c);
  add_debug(c);
  add_inspect(c);
  add_bench(c);
  try {
    c.app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return c.app.exit(e);  // --help
    throw UsageError(explain(c.app, e), fmt::format("run '{} --help'", chosen_command(c.app)));
  }
  select_isa(c.global.isa);
  active_isa();  // a wrong FATHOM_ISA is said now
  return c.run();
}

}  // namespace fathom::app
