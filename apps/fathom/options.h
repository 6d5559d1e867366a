#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace fathom::app {

/// What every subcommand takes.
struct GlobalOptions {
  bool json = false;  ///< one JSON document on standard output
  int threads = 0;    ///< 0: all usable processors
  std::string isa = "auto";
};

struct DoctorArguments {
  std::string model;
};

struct TokenizerTrainArguments {
  std::vector<std::string> input;
  int64_t vocab_size = 0;
  std::string out;
};
struct TokenizerEncodeArguments {
  std::string model;
  std::optional<std::string> text;
  std::string input;
  bool no_special = false;
};
struct TokenizerDecodeArguments {
  std::string model;
  std::vector<int32_t> ids;
  bool skip_special = false;
};

struct TokenizerRenderArguments {
  std::string model, chat_template;
  std::vector<std::string> messages;
  std::optional<bool> thinking;
  bool no_generation_prompt = false;
};

struct InitArguments {
  std::string model, out, tokenizer;
  std::string dtype = "bf16";
  uint64_t seed = 0;
  int64_t max_shard_mb = 4096;
};

struct QuantizeArguments {
  std::string model, out, dtype, eval, precision = "bf16";
  int64_t group_size = 128;   ///< int4, int8: elements of a row under one scale; 0: the row
  bool zero_points = false;   ///< int4, int8: asymmetric
  bool power_of_two = false;  ///< fp8: scales rounded up to powers of two
  int64_t max_shard_mb = 4096, seq_len = 0;
};

struct TrainArguments {
  std::string config, out;
  std::vector<std::string> set;
  bool resume = false;
};

struct EvalArguments {
  std::string model, text, precision = "bf16";
  std::string cache_dtype;  ///< bf16 or fp8: read over a latent cache; empty: without one
  std::string tokenizer;    ///< directory; empty: the model's own
  int64_t seq_len = 0;    ///< 0: 512, or the model's limit if that is shorter
};

/// How generate and chat choose tokens.
struct SamplingArguments {
  double temperature = 0;
  double top_p = 1, min_p = 0, repetition_penalty = 1;
  int64_t top_k = 0;
  uint64_t seed = 0;
  std::string precision = "bf16", speculate = "off";
  std::string cache_dtype;  ///< bf16 or fp8; empty: as the precision
  std::string tokenizer;    ///< directory; empty: the model's own
  bool preload = false;     ///< read all weights from disk first
  std::string numa = "local";
  int64_t drafts = 0;       ///< tokens drafted a step; 0: as many as are measured to pay
  int64_t max_context = 0;  ///< 0: the model's limit, at most what the request needs
};
struct GenerateArguments {
  std::string model;
  std::optional<std::string> prompt;
  std::string prompt_file;
  std::vector<int32_t> ids;
  int64_t max_new_tokens = 128;
  bool ignore_eos = false;
  std::vector<std::string> stop;
  int64_t logprobs = -1;  ///< >= 0: log-probabilities of the chosen and of so many best tokens
  SamplingArguments sampling;
};
struct ChatArguments {
  std::string model, system, chat_template;
  std::optional<bool> thinking;
  bool stats = false;
  int64_t max_new_tokens = 0;  ///< of a reply; 0: chat.cpp says
  SamplingArguments sampling;
};

struct DebugArguments {
  std::string model, out, precision = "fp32";
  std::vector<int32_t> ids;
  double mtp_lambda = 0, balance_alpha = 0;  ///< gradients: terms added to the objective
};

struct InspectArguments {
  std::string model;
  bool training = false;  ///< what a training run holds in memory
  std::string precision = "bf16";
  bool recompute = false;
  int64_t batch_tokens = 4096;  ///< of a micro-batch
};

int run_version(const GlobalOptions&);
int run_doctor(const GlobalOptions&, const DoctorArguments&);
int run_tokenizer_train(const GlobalOptions&, const TokenizerTrainArguments&);
int run_tokenizer_encode(const GlobalOptions&, const TokenizerEncodeArguments&);
int run_tokenizer_decode(const GlobalOptions&, const TokenizerDecodeArguments&);
int run_tokenizer_render(const GlobalOptions&, const TokenizerRenderArguments&);
int run_init(const GlobalOptions&, const InitArguments&);
int run_quantize(const GlobalOptions&, const QuantizeArguments&);
int run_train(const GlobalOptions&, const TrainArguments&);
int run_eval(const GlobalOptions&, const EvalArguments&);
int run_generate(const GlobalOptions&, const GenerateArguments&);
int run_chat(const GlobalOptions&, const ChatArguments&);
int run_debug_logits(const GlobalOptions&, const DebugArguments&);
int run_debug_gradients(const GlobalOptions&, const DebugArguments&);
int run_inspect(const GlobalOptions&, const InspectArguments&);

/// Parses the command line and runs the subcommand; the process's exit status.
int run_command_line(int argc, char** argv);

}  // namespace fathom::app
