#include "bench/bench.h"
#include "bench/matrices.h"
#include "command_line.h"

namespace fathom::app {
namespace {

constexpr const char* kPeerHelp =
    "Also time PyTorch on the same work (in BF16 for e4m3), in turn; the Python that has it";

template <class Options>
CLI::App* add_family(CommandLine& c, CLI::App& bench, const char* name, const char* help,
                     int (*run)(const GlobalOptions&, const Options&),
                     const std::function<void(CLI::App*, Options&)>& add_options) {
  CLI::App* sub = command(bench, name, help);
  Options& o = options_of(c, sub, run);
  sub->add_option("--seconds", o.seconds, "Measuring time a case")
      ->check(above_zero())
      ->capture_default_str();
  add_options(sub, o);
  return sub;
}

void add_peer(CLI::App* sub, BenchOptions& o) {
  sub->add_option("--peer", o.peer, kPeerHelp)->expected(0, 1)->default_str("python3");
}

void add_size(CLI::App* sub, const char* name, int64_t& value, const char* help) {
  sub->add_option(name, value, help)
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 40))
      ->capture_default_str();
}

void add_sizes(CLI::App* sub, const char* name, std::vector<int64_t>& values, const char* help) {
  sub->add_option(name, values, help)
      ->delimiter(',')
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 40))
      ->capture_default_str();
}

void add_choice(CLI::App* sub, const char* name, std::string& value, const char* help,
                const std::vector<std::string>& choices) {
  sub->add_option(name, value, help)->check(CLI::IsMember(choices))->capture_default_str();
}

void add_dtype(CLI::App* sub, std::string& dtype, const std::vector<std::string>& choices) {
  add_choice(sub, "--dtype", dtype, "Storage format of the inputs", choices);
}

/// The same for products: weights may be in formats of their own.
void add_product_dtype(CLI::App* sub, std::string& dtype) {
  std::vector<std::string> choices = {"bf16", "fp32", "e4m3"};
  for (const std::string& name : stored_format_names()) choices.push_back(name);
  add_choice(sub, "--dtype", dtype, "Storage format of the inputs, or of weights beside BF16",
             choices);
}

void add_layout(CLI::App* sub, std::string& layout) {
  add_choice(sub, "--layout", layout, "nt: forward, nn: input gradient, tn: weight gradient",
             {"nt", "nn", "tn"});
}

void gemm(CLI::App* sub, BenchGemmOptions& o) {
  add_peer(sub, o);
  sub->add_option("--shapes", o.shapes, "MxNxK, separated by commas")->delimiter(',');
  sub->add_option("--m", o.m, "Rows of the result");
  sub->add_option("--n", o.n, "Its columns");
  sub->add_option("--k", o.k, "What is summed over");
  sub->add_option("--model", o.models,
                  "The matrices of a model's attention and dense MLP (preset, config.json or "
                  "directory), separated by commas")
      ->delimiter(',');
  add_sizes(sub, "--tokens", o.tokens, "Rows of the matrices of --model");
  add_product_dtype(sub, o.dtype);
  add_layout(sub, o.layout);
}

void grouped(CLI::App* sub, BenchGroupedOptions& o) {
  add_peer(sub, o);
  add_size(sub, "--experts", o.experts, "Groups");
  add_size(sub, "--rows", o.rows, "Tokens of all experts together");
  add_size(sub, "--n", o.n, "Columns of the result");
  add_size(sub, "--k", o.k, "What is summed over (tn: rows of the result)");
  add_choice(sub, "--skew", o.skew, "How rows are spread over experts",
             {"zipf", "balanced", "one"});
  add_dtype(sub, o.dtype, {"bf16", "fp32", "e4m3"});
  add_layout(sub, o.layout);
}

void few_rows(CLI::App* sub, BenchFewRowsOptions& o) {
  add_peer(sub, o);
  sub->add_option("--m", o.m, "Rows, 1 to 16")
      ->delimiter(',')
      ->check(CLI::Range(int64_t{1}, int64_t{16}))
      ->capture_default_str();
  add_size(sub, "--n", o.n, "Columns of the result");
  add_size(sub, "--k", o.k, "What is summed over");
  sub->add_option("--total-mb", o.total_mb,
                  "Weights read in turn, in MB (default: twice the caches)")
      ->check(above_zero());
  add_product_dtype(sub, o.dtype);
}

void attention(CLI::App* sub, BenchAttentionOptions& o) {
  add_peer(sub, o);
  add_sizes(sub, "--tokens", o.tokens, "Lengths of a sequence");
  add_size(sub, "--sequences", o.sequences, "Sequences");
  add_size(sub, "--heads", o.heads, "Heads");
  add_size(sub, "--nope", o.nope, "Head dimension without position");
  add_size(sub, "--rope", o.rope, "Roped head dimension");
  add_size(sub, "--v", o.v, "Head dimension of the values");
  add_choice(sub, "--pass", o.pass, "What to time", {"both", "forward", "backward"});
  add_dtype(sub, o.dtype, {"bf16", "fp32"});
}

void decode_attention(CLI::App* sub, BenchDecodeAttentionOptions& o) {
  add_peer(sub, o);
  add_sizes(sub, "--cache", o.cache, "Tokens in the cache");
  add_size(sub, "--queries", o.queries, "Query tokens");
  add_size(sub, "--heads", o.heads, "Heads");
  add_size(sub, "--latent", o.latent, "Width of the latent");
  add_size(sub, "--rope", o.rope, "Width of the roped key");
  add_dtype(sub, o.dtype, {"bf16", "fp32", "e4m3"});
}

void ops(CLI::App* sub, BenchOpsOptions& o) {
  add_peer(sub, o);
  add_size(sub, "--tokens", o.tokens, "Rows");
  add_size(sub, "--dim", o.dim, "Columns");
  sub->add_option("--only", o.only, "Operations, separated by commas (default: all)")
      ->delimiter(',');
  add_dtype(sub, o.dtype, {"bf16", "fp32"});
}

void quantize(CLI::App* sub, BenchQuantizeOptions& o) {
  add_size(sub, "--rows", o.rows, "Rows");
  add_size(sub, "--cols", o.cols, "Columns");
  add_dtype(sub, o.dtype, {"bf16", "fp32"});
}

void add_accumulator(CommandLine& c, CLI::App& bench) {
  CLI::App* sub = command(bench, "accumulator", "Error of FP8 tensor-core sums against FP64");
  BenchAccumulatorOptions& o = options_of(c, sub, run_bench_accumulator);
  add_size(sub, "--m", o.m, "Rows of the result");
  add_size(sub, "--n", o.n, "Its columns");
  add_size(sub, "--k", o.k, "What is summed over");
  sub->add_option("--bits", o.bits, "Bits that the accumulator keeps")
      ->check(CLI::Range(2, 16))
      ->capture_default_str();
  sub->add_option("--group", o.group, "Products that it aligns and adds at once")
      ->check(CLI::Range(1, 128))
      ->capture_default_str();
  sub->add_option("--intervals", o.intervals,
                  "Products between promotions to FP32 (N_C), separated by commas; 0: never")
      ->delimiter(',')
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 40))
      ->capture_default_str();
  sub->add_option("--inputs", o.inputs,
                  "normal: N(0, 1), uniform: [0, 1), symmetric: [-1, 1); separated by commas")
      ->delimiter(',')
      ->check(CLI::IsMember({"normal", "uniform", "symmetric"}))
      ->capture_default_str();
  sub->add_option("--svg", o.svg, "Draw the greatest errors into this file");
}

void memory(CLI::App*, BenchMemoryOptions&) {}

void model(CLI::App* sub, BenchModelOptions& o, const char* what, bool with_fp8 = false) {
  sub->add_option("--model", o.model, what)->capture_default_str();
  add_precision(sub, o.precision, with_fp8);
  sub->footer("PyTorch on the same model: tests/oracle/bench_torch.py.");
}

void train(CLI::App* sub, BenchModelOptions& o) {
  model(sub, o, "The shape of a model directory, config.json or preset; weights are random", true);
  sub->add_flag("--recompute", o.recompute,
                "Compute norms and MLA's up-projections again in the backward, as FP8 always does");
  add_size(sub, "--seq-len", o.seq_len, "Tokens a sequence");
  add_size(sub, "--micro-batch", o.micro_batch, "Sequences computed at once");
}

void inference(CLI::App* sub, BenchModelOptions& o) {
  model(sub, o,
        "Model directory or GGUF file, with its weights; or config.json or preset: random ones");
  add_sizes(sub, "--batch", o.batch, "Sequences at a time");
  add_cache_dtype(sub, o.cache_dtype, "Format of the latent cache (default: as the precision)");
}

void prefill(CLI::App* sub, BenchModelOptions& o) {
  inference(sub, o);
  add_sizes(sub, "--tokens", o.tokens, "Lengths of the prompt");
}

void decode(CLI::App* sub, BenchModelOptions& o) {
  inference(sub, o);
  add_sizes(sub, "--prompt", o.prompt, "Tokens in the cache at the start");
  add_size(sub, "--new-tokens", o.new_tokens, "Tokens decoded a run");
}

}  // namespace

void add_bench(CommandLine& c) {
  CLI::App* sub = command(c.app, "bench", "Measure against a roof measured in the same run");
  sub->require_subcommand(1);
  add_family<BenchGemmOptions>(c, *sub, "gemm", "Matrix products", run_bench_gemm, gemm);
  add_family<BenchGroupedOptions>(c, *sub, "grouped-gemm", "Products of experts", run_bench_grouped,
                                  grouped);
  add_family<BenchFewRowsOptions>(c, *sub, "few-rows", "Products of 1 to 16 rows (small M)",
                                  run_bench_few_rows, few_rows);
  add_family<BenchAttentionOptions>(c, *sub, "attention", "MLA for training and prefill",
                                    run_bench_attention, attention);
  add_family<BenchDecodeAttentionOptions>(c, *sub, "decode-attention",
                                          "Absorbed MLA over a latent cache",
                                          run_bench_decode_attention, decode_attention);
  add_family<BenchOpsOptions>(c, *sub, "ops", "Norms, activations, optimizer: bound by memory",
                              run_bench_ops, ops);
  add_family<BenchQuantizeOptions>(c, *sub, "quantize", "To E4M3 with tile scales, and back",
                                   run_bench_quantize, quantize);
  add_accumulator(c, *sub);
  add_family<BenchMemoryOptions>(c, *sub, "memory", "Read, write and copy", run_bench_memory,
                                 memory);
  add_family<BenchModelOptions>(c, *sub, "train", "Training step: tokens/s, TFLOP/s, MFU",
                                run_bench_train, train);
  add_family<BenchModelOptions>(c, *sub, "prefill", "Reading a prompt", run_bench_prefill, prefill);
  add_family<BenchModelOptions>(c, *sub, "decode", "Decode tokens/s and its memory bound",
                                run_bench_decode, decode);
}

}  // namespace fathom::app
