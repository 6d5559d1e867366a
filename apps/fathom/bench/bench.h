#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "options.h"

namespace fathom::app {

/// What every family of `fathom bench` takes.
struct BenchOptions {
  double seconds = 1;  ///< measuring time a case, and as much again for a peer
  std::string peer;    ///< Python interpreter with PyTorch; empty: no peer
};

struct BenchGemmOptions : BenchOptions {
  std::vector<std::string> shapes;  ///< "MxNxK"
  int64_t m = 0, n = 0, k = 0;      ///< instead of shapes
  std::vector<std::string> models;  ///< instead: the matrices of these models
  std::vector<int64_t> tokens = {128, 512, 4096};
  std::string dtype = "bf16", layout = "nt";
};

struct BenchGroupedOptions : BenchOptions {
  int64_t experts = 64, rows = 8192, n = 2816, k = 2048;
  std::string skew = "zipf", dtype = "bf16", layout = "nt";
};

struct BenchFewRowsOptions : BenchOptions {
  std::vector<int64_t> m = {1, 4, 16};
  int64_t n = 8192, k = 8192, total_mb = 0;  ///< of weights; 0: twice the caches
  std::string dtype = "bf16";
};

struct BenchAttentionOptions : BenchOptions {
  int64_t heads = 16, sequences = 1, nope = 128, rope = 64, v = 128;
  std::vector<int64_t> tokens = {512, 2048};
  std::string dtype = "bf16", pass = "both";
};

struct BenchDecodeAttentionOptions : BenchOptions {
  int64_t heads = 16, queries = 1, latent = 512, rope = 64;
  std::vector<int64_t> cache = {1024, 8192};
  std::string dtype = "bf16";
};

struct BenchOpsOptions : BenchOptions {
  int64_t tokens = 4096, dim = 7168;
  std::vector<std::string> only;  ///< names; empty: all
  std::string dtype = "bf16";
};

struct BenchQuantizeOptions : BenchOptions {
  int64_t rows = 4096, cols = 7168;
  std::string dtype = "bf16";
};

/// The error of a sum, not its speed.
struct BenchAccumulatorOptions {
  int64_t m = 256, n = 256, k = 4096;
  int64_t bits = 14, group = 32;                       ///< of the emulated unit
  std::vector<int64_t> intervals = {32, 128, 512, 0};  ///< N_C; 0: never promoted
  std::vector<std::string> inputs = {"normal", "uniform"};
  std::string svg;  ///< file to draw into; empty: none
};

struct BenchMemoryOptions : BenchOptions {};

/// train, prefill and decode.
struct BenchModelOptions : BenchOptions {
  BenchModelOptions() { seconds = 10; }
  std::string model = "small", precision = "bf16";
  bool recompute = false;                  ///< train
  int64_t seq_len = 512, micro_batch = 4;  ///< train
  std::vector<int64_t> batch = {1};        ///< sequences; prefill and decode
  std::string cache_dtype;                 ///< bf16 or fp8; empty: as the precision
  std::vector<int64_t> prompt = {128};     ///< decode
  int64_t new_tokens = 64;                 ///<
  std::vector<int64_t> tokens = {512};     ///< prefill
};

int run_bench_gemm(const GlobalOptions&, const BenchGemmOptions&);
int run_bench_grouped(const GlobalOptions&, const BenchGroupedOptions&);
int run_bench_few_rows(const GlobalOptions&, const BenchFewRowsOptions&);
int run_bench_attention(const GlobalOptions&, const BenchAttentionOptions&);
int run_bench_decode_attention(const GlobalOptions&, const BenchDecodeAttentionOptions&);
int run_bench_ops(const GlobalOptions&, const BenchOpsOptions&);
int run_bench_quantize(const GlobalOptions&, const BenchQuantizeOptions&);
int run_bench_accumulator(const GlobalOptions&, const BenchAccumulatorOptions&);
int run_bench_memory(const GlobalOptions&, const BenchMemoryOptions&);
int run_bench_train(const GlobalOptions&, const BenchModelOptions&);
int run_bench_prefill(const GlobalOptions&, const BenchModelOptions&);
int run_bench_decode(const GlobalOptions&, const BenchModelOptions&);

}  // namespace fathom::app
