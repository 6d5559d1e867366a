#include <fmt/format.h>

#include "base/cpu.h"
#include "base/error.h"
#include "command_line.h"
#include "formats.h"

namespace fathom::app {

namespace {

CLI::Validator number_that(const char* type, bool (*holds)(double), const char* what) {
  return CLI::Validator(
      [holds, what](const std::string& text) {
        double value = 0;
        const bool good = CLI::detail::lexical_cast(text, value) && holds(value);
        return good ? std::string() : fmt::format("{} is not {}", text, what);
      },
      type);
}

}  // namespace

CLI::Validator above_zero() {
  return number_that(
      "POSITIVE", [](double v) { return v > 0; }, "a number above 0");
}

CLI::Validator zero_or_more() {
  return number_that(
      "NONNEGATIVE", [](double v) { return v >= 0; }, "a number of 0 or more");
}

CLI::App* command(CLI::App& parent, const char* name, const char* help) {
  CLI::App* sub = parent.add_subcommand(name, help);
  sub->fallthrough();
  return sub;
}

CLI::Option* add_precision(CLI::App* sub, std::string& precision, bool with_fp8) {
  std::vector<std::string> names = {"fp32", "bf16"};
  if (with_fp8) names.push_back("fp8");
  return sub->add_option("--precision", precision, "Arithmetic of matrix products")
      ->check(CLI::IsMember(names))
      ->capture_default_str();
}

CLI::Option* add_cache_dtype(CLI::App* sub, std::string& dtype, const char* help) {
  return sub->add_option("--cache-dtype", dtype, help)->check(CLI::IsMember({"bf16", "fp8"}));
}

namespace {

CLI::Option* add_model(CLI::App* sub, std::string& model) {
  return sub->add_option("--model", model, "Model directory in Hugging Face layout, or a GGUF file")
      ->required();
}

CLI::Option* add_tokenizer_directory(CLI::App* sub, std::string& tokenizer) {
  return sub->add_option("--tokenizer", tokenizer,
                         "Directory with the tokenizer (default: the model's, or that of the GGUF "
                         "file)");
}

CLI::Option* add_ids(CLI::App* sub, std::vector<int32_t>& ids) {
  return sub->add_option("--ids", ids, "Token ids, separated by commas")
      ->delimiter(',')
      ->check([](const std::string& id) {
        const bool digits = !id.empty() && id.find_first_not_of("0123456789") == std::string::npos;
        return digits ? std::string() : fmt::format("'{}' is not a token id", id);
      });
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
  DoctorArguments& o = options_of(c, sub, run_doctor);
  sub->add_option("--model", o.model,
                  "Model directory, config.json or preset to predict decode speed for");
}

void add_chat_template(CLI::App* sub, std::string& name, std::optional<bool>& thinking) {
  sub->add_option("--chat-template", name,
                  "Format of the conversation (default: as the model's chat_template says)");
  CLI::Option* on = sub->add_flag_callback(
      "--thinking", [&thinking] { thinking = true; },
      "Let the model reason first, where it has the choice (DeepSeek-V3.1)");
  sub->add_flag_callback(
         "--no-thinking", [&thinking] { thinking = false; }, "Do not")
      ->excludes(on);
}

void add_tokenizer_render(CommandLine& c, CLI::App& tokenizer) {
  CLI::App* sub = command(tokenizer, "render", "Conversation to prompt, as chat does it");
  TokenizerRenderArguments& o = options_of(c, sub, run_tokenizer_render);
  add_model(sub, o.model);
  sub->add_option("--messages", o.messages,
                  "JSON files: messages and tools as in the OpenAI format")
      ->required();
  add_chat_template(sub, o.chat_template, o.thinking);
  sub->add_flag("--no-generation-prompt", o.no_generation_prompt,
                "Stop before the marker that begins a reply");
}

void add_tokenizer(CommandLine& c) {
  CLI::App* sub =
      command(c.app, "tokenizer", "Train a tokenizer, encode, decode, render conversations");
  sub->require_subcommand(1);
  CLI::App* train = command(*sub, "train", "Train a byte-level BPE tokenizer on text files");
  TokenizerTrainArguments& t = options_of(c, train, run_tokenizer_train);
  train->add_option("--input", t.input, "Text files")->required();
  train->add_option("--vocab-size", t.vocab_size, "Number of tokens")
      ->required()
      ->check(CLI::Range(1, 16'000'000));
  train->add_option("--out", t.out, "Directory to write")->required();

  CLI::App* encode = command(*sub, "encode", "Text to token ids");
  TokenizerEncodeArguments& e = options_of(c, encode, run_tokenizer_encode);
  add_model(encode, e.model);
  auto* source = encode->add_option_group("source", "What to encode");
  source->add_option("--text", e.text, "The text itself");
  source->add_option("--input", e.input, "A file; - is the standard input");
  source->require_option(1);
  encode->add_flag("--no-special", e.no_special,
                   "Add no begin-of-sequence token and read special tokens as plain text");

  CLI::App* decode = command(*sub, "decode", "Token ids to text");
  TokenizerDecodeArguments& d = options_of(c, decode, run_tokenizer_decode);
  add_model(decode, d.model);
  add_ids(decode, d.ids)->required();
  decode->add_flag("--skip-special", d.skip_special, "Leave out special tokens");
  add_tokenizer_render(c, *sub);
}

void add_init(CommandLine& c) {
  CLI::App* sub = command(c.app, "init", "Write a random checkpoint of a given shape");
  InitArguments& o = options_of(c, sub, run_init);
  sub->add_option("--model", o.model, "config.json, or a preset's name")->required();
  sub->add_option("--out", o.out, "Directory to write")->required();
  sub->add_option("--tokenizer", o.tokenizer, "Directory whose tokenizer is copied");
  sub->add_option("--dtype", o.dtype, "Storage format")
      ->check(CLI::IsMember({"bf16", "fp8", "fp32"}))
      ->capture_default_str();
  sub->add_option("--seed", o.seed, "Seed")->check(zero_or_more())->capture_default_str();
  sub->add_option("--max-shard-mb", o.max_shard_mb, "Largest file, in MB")
      ->check(above_zero())
      ->capture_default_str();
}

void add_quantize(CommandLine& c) {
  CLI::App* sub = command(c.app, "quantize", "Write a model in another storage format");
  QuantizeArguments& o = options_of(c, sub, run_quantize);
  add_model(sub, o.model);
  sub->add_option("--dtype", o.dtype, "Format of the matrices; bf16 dequantizes")
      ->required()
      ->check(CLI::IsMember({"int4", "int8", "fp8", "bf16"}));
  sub->add_option("--out", o.out, "Directory to write")->required();
  sub->add_option("--group-size", o.group_size,
                  "int4, int8: elements of a row under one scale; 0: the whole row")
      ->check(zero_or_more())
      ->capture_default_str();
  sub->add_flag("--zero-points", o.zero_points, "int4, int8: asymmetric");
  sub->add_flag("--power-of-two", o.power_of_two, "fp8: scales that are powers of two, as V3.1");
  sub->add_option("--eval", o.eval, "Text file: report its loss before and after");
  sub->add_option("--seq-len", o.seq_len, "Tokens a window of --eval")->check(above_zero());
  add_precision(sub, o.precision);
  sub->add_option("--max-shard-mb", o.max_shard_mb, "Largest file, in MB")
      ->check(above_zero())
      ->capture_default_str();
}

void add_train(CommandLine& c) {
  CLI::App* sub = command(c.app, "train", "Train a model");
  TrainArguments& o = options_of(c, sub, run_train);
  sub->add_option("config", o.config, "Training configuration (TOML)")->required();
  sub->add_option("--set", o.set, "Override a key: --set optimizer.lr=1e-3")
      ->take_all()
      ->expected(1);
  sub->add_option("--out", o.out, "Directory of the run")->required();
  sub->add_flag("--resume", o.resume, "Continue from the run's last checkpoint");
}

void add_eval(CommandLine& c) {
  CLI::App* sub = command(c.app, "eval", "Held-out loss on a text");
  EvalArguments& o = options_of(c, sub, run_eval);
  add_model(sub, o.model);
  sub->add_option("--text", o.text, "Text file; - is the standard input")->required();
  sub->add_option("--seq-len", o.seq_len, "Tokens a window")->check(above_zero());
  add_tokenizer_directory(sub, o.tokenizer);
  add_precision(sub, o.precision, true);
  add_cache_dtype(sub, o.cache_dtype,
                  "Read over a latent cache of this format, as generate does (default: without)");
}

void add_sampling(CLI::App* sub, SamplingArguments& s) {
  sub->add_option("--temperature", s.temperature, "0 is greedy")
      ->check(CLI::Range(0.0, 100.0))
      ->capture_default_str();
  sub->add_option("--top-p", s.top_p, "Nucleus: smallest set of this probability")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  sub->add_option("--top-k", s.top_k, "Only the K best tokens; 0 is all")->check(zero_or_more());
  sub->add_option("--min-p", s.min_p, "Drop tokens below this share of the best one's probability")
      ->check(CLI::Range(0.0, 1.0));
  sub->add_option("--repetition-penalty", s.repetition_penalty, "Above 1 discourages repetition")
      ->check(above_zero());
  sub->add_option("--seed", s.seed, "Seed of the sampling")->check(zero_or_more());
  add_precision(sub, s.precision, true);
  add_cache_dtype(sub, s.cache_dtype,
                  "Format of the latent cache (default: as the precision; fp8 takes 656 bytes a "
                  "token and layer of 512 + 64 values)");
  add_tokenizer_directory(sub, s.tokenizer);
  sub->add_flag("--preload", s.preload, "Read all weights from disk before the first token");
  sub->add_option(
         "--numa", s.numa,
         "Where new memory and weights read from disk lie: local, on the node of the thread "
         "that asks first; interleave, on all nodes in turn")
      ->check(CLI::IsMember({"local", "interleave"}))
      ->capture_default_str();
  sub->add_option("--speculate", s.speculate, "Draft tokens with the MTP module")
      ->check(CLI::IsMember({"off", "mtp"}))
      ->capture_default_str();
  sub->add_option("--drafts", s.drafts,
                  "Tokens drafted a step (default: greedy, 0 to 4, as is measured to be fastest; "
                  "else one a MTP module)")
      ->check(CLI::Range(0, 15));
  sub->add_option("--max-context", s.max_context, "Longest context, in tokens")
      ->check(above_zero());
}

void add_generate(CommandLine& c) {
  CLI::App* sub = command(c.app, "generate", "Continue a prompt");
  GenerateArguments& o = options_of(c, sub, run_generate);
  add_model(sub, o.model);
  auto* source = sub->add_option_group("prompt", "What to continue");
  source->add_option("--prompt", o.prompt, "The text itself");
  source->add_option("--prompt-file", o.prompt_file, "A file; - is the standard input");
  add_ids(source, o.ids);
  source->require_option(1);
  sub->add_option("--max-new-tokens", o.max_new_tokens, "Stop after so many")
      ->check(above_zero())
      ->capture_default_str();
  sub->add_flag("--ignore-eos", o.ignore_eos, "Go on after the end-of-sequence token");
  sub->add_option("--stop", o.stop, "Stop before this text (may be repeated)")
      ->take_all()
      ->expected(1);
  sub->add_option("--logprobs", o.logprobs, "Report log-probabilities, and the N best tokens")
      ->check(CLI::Range(0, 1000));
  add_sampling(sub, o.sampling);
}

void add_chat(CommandLine& c) {
  CLI::App* sub = command(c.app, "chat", "Talk with a model");
  ChatArguments& o = options_of(c, sub, run_chat);
  add_model(sub, o.model);
  sub->add_option("--system", o.system, "System text");
  add_chat_template(sub, o.chat_template, o.thinking);
  sub->add_flag("--stats", o.stats, "Print tokens and speed after each reply");
  sub->add_option("--max-new-tokens", o.max_new_tokens,
                  "Longest reply in tokens (default: 8192, 32768 where the model thinks first)")
      ->check(above_zero());
  add_sampling(sub, o.sampling);
}

void add_debug_formats(CommandLine& c, CLI::App& debug) {
  CLI::App* sub = command(debug, "formats", "What 8- and 10-bit formats do to residual branches");
  FormatsArguments& o = options_of(c, sub, run_debug_formats);
  add_model(sub, o.model);
  sub->add_option("--text", o.text, "Held-out text")->required();
  sub->add_option("--seq-len", o.seq_len, "Tokens a window")
      ->check(above_zero())
      ->capture_default_str();
  sub->add_option("--max-tokens", o.max_tokens, "Of the text, the first so many")
      ->check(above_zero())
      ->capture_default_str();
  add_precision(sub, o.precision);
}

void add_debug(CommandLine& c) {
  CLI::App* sub = command(c.app, "debug", "Write logits or gradients, for comparison");
  sub->require_subcommand(1);
  const auto o = std::make_shared<DebugArguments>();
  auto add = [&](const char* name, const char* help,
                 int (*run)(const GlobalOptions&, const DebugArguments&)) {
    CLI::App* s = command(*sub, name, help);
    add_model(s, o->model);
    add_ids(s, o->ids)->required();
    s->add_option("--out", o->out, "Safetensors file to write")->required();
    add_precision(s, o->precision, true);
    on_parse(c, s, run, o);
    return s;
  };
  add("logits", "Logits of every position, and of the MTP modules", run_debug_logits);
  CLI::App* gradients = add("gradients", "Gradient of the mean next-token loss for every parameter",
                            run_debug_gradients);
  gradients->add_option("--mtp-lambda", o->mtp_lambda, "Add the MTP loss with this weight")
      ->check(zero_or_more());
  gradients->add_option("--balance-alpha", o->balance_alpha, "Add the balance loss")
      ->check(zero_or_more());
  add_debug_formats(c, *sub);
}

void add_inspect(CommandLine& c) {
  CLI::App* sub = command(c.app, "inspect", "Shape, parameters and memory of a model");
  InspectArguments& o = options_of(c, sub, run_inspect);
  sub->add_option("--model", o.model, "Model directory, config.json or preset")->required();
  CLI::Option* training =
      sub->add_flag("--training", o.training, "Also the memory of training, tensor by tensor");
  add_precision(sub, o.precision, true)->needs(training);
  sub->add_flag("--recompute", o.recompute,
                "Norms and MLA's up-projections are computed again, as in fp8 always")
      ->needs(training);
  sub->add_option("--micro-batch-tokens", o.batch_tokens, "Tokens computed at once")
      ->check(above_zero())
      ->capture_default_str()
      ->needs(training);
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
  add_quantize(c);
  add_train(c);
  add_eval(c);
  add_generate(c);
  add_chat(c);
  add_debug(c);
  add_inspect(c);
  add_bench(c);
  add_compare(c);
  add_net(c);
  add_plan(c);
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
