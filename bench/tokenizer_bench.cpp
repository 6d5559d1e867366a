// Encoding, decoding and training speed in bytes of text a second. FATHOM_V3_TOKENIZER and
// FATHOM_BENCH_TEXT (a file) choose what to measure with; otherwise generated text and a tokenizer
// trained on it.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <memory>
#include <random>
#include <string>

#include "base/file.h"
#include "text/bpe_trainer.h"
#include "text/tokenizer.h"

namespace fathom {
namespace {

/// Words of a power-law vocabulary, as in natural language.
std::string generated_text() {
  std::mt19937 random(1);
  std::vector<std::string> words(20000);
  for (std::string& word : words) {
    for (size_t n = 1 + random() % 9; n > 0; --n) word += static_cast<char>('a' + random() % 26);
  }
  std::string text;
  while (text.size() < 4'000'000) {
    const double u = static_cast<double>(random()) / 4294967296.0;
    text += words[static_cast<size_t>(u * u * u * u * static_cast<double>(words.size()))];
    text += random() % 12 == 0 ? ".\n" : " ";
  }
  return text;
}

const std::string& text() {
  static const std::string text = [] {
    const char* file = std::getenv("FATHOM_BENCH_TEXT");
    return file != nullptr ? read_text_file(file) : generated_text();
  }();
  return text;
}

const Tokenizer& tokenizer() {
  static const Tokenizer tokenizer = [] {
    const char* directory = std::getenv("FATHOM_V3_TOKENIZER");
    if (directory != nullptr) return Tokenizer::load(directory);
    ThreadPool pool;
    const std::string_view view = text();
    return Tokenizer::from_json(tokenizer_json(train_bpe({&view, 1}, 8192, pool)), "trained");
  }();
  return tokenizer;
}

void report(benchmark::State& state) {
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(text().size()));
}

void Encode(benchmark::State& state) {
  ThreadPool pool(static_cast<int>(state.range(0)));
  tokenizer();
  for (auto _ : state) {
    benchmark::DoNotOptimize(tokenizer().encode_parallel(text(), {.parse_special = true}, pool));
  }
  report(state);
}
BENCHMARK(Encode)->ArgName("threads")->Arg(1)->Arg(2)->UseRealTime()->Unit(benchmark::kMillisecond);

void Decode(benchmark::State& state) {
  const std::vector<int32_t> ids = tokenizer().encode(text());
  for (auto _ : state) benchmark::DoNotOptimize(tokenizer().decode(ids));
  report(state);
}
BENCHMARK(Decode)->Unit(benchmark::kMillisecond);

void Train(benchmark::State& state) {
  ThreadPool pool;
  const std::string_view view = text();
  for (auto _ : state) benchmark::DoNotOptimize(train_bpe({&view, 1}, 4096, pool));
  report(state);
}
BENCHMARK(Train)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace fathom
