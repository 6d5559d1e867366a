#pragma once

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/log.h"
#include "infer/infer_test.h"
#include "temporary_directory.h"
#include "text/bpe_trainer.h"
#include "train/run.h"
#include "train/run_state.h"

namespace fathom::train {

/// A model of seconds' training: text, tokenizer, config.json and the run's settings in a directory
/// of its own.
class RunTest : public testing::Test {
 protected:
  void SetUp() override {
    set_log_level(LogLevel::kError);
    write_quickly(directory_ / "text.txt", some_text());
    const std::string text = read_text_file(directory_ / "text.txt");
    const std::string_view view = text;
    save_tokenizer(train_bpe({&view, 1}, 300, pool_), directory_ / "tokenizer");
    write_quickly(directory_ / "config.json", tiny_model().to_json("float32"));
  }
  void TearDown() override { set_log_level(LogLevel::kInfo); }

  static ModelConfig tiny_model() {
    ModelConfig c = small_config();
    c.vocab_size = 300;
    c.hidden_size = 32;
    c.num_hidden_layers = 2;
    c.num_attention_heads = 2;
    c.initializer_range = 0.05;
    return c;
  }

  /// Documents of common words, separated by blank lines.
  static std::string some_text() {
    constexpr const char* kWords[] = {"the", "cat", "sat", "on",  "a",   "mat",   "and", "dog",
                                      "ran", "to",  "its", "old", "red", "house", "by",  "sea"};
    const Philox random(11);
    std::string text;
    for (uint64_t i = 0; i < 6000; ++i) {
      text += kWords[random.below(i, 16)];
      text += i % 50 == 49 ? ".\n\n" : i % 10 == 9 ? ".\n" : " ";
    }
    return text;
  }

  /// Overrides come after these settings.
  TrainConfig config(std::vector<std::string> overrides = {}) const {
    return parse_train_config(R"(
model = "config.json"
[data]
train = "text.txt"
tokenizer = "tokenizer"
seq_len = 16
[train]
steps = 8
batch_tokens = 64
micro_batch = 2
precision = "fp32"
seed = 5
eval_every = 4
eval_tokens = 64
checkpoint_every = 2
keep_checkpoints = 0
log_batches = true
[optimizer]
lr = 3e-3
ema_decay = 0.9
schedule = { type = "cosine", warmup_steps = 1 }
)",
                              directory_ / "run.toml", overrides);
  }

  RunResult run(const TrainConfig& config, const std::string& name, bool resume = false) {
    Arena arena;
    Context ctx{Device{}, pool_, arena};
    return run_training(ctx, config, directory_ / name, resume);
  }

  /// Message and hint of the Error that a run ends with.
  std::string error_of(const TrainConfig& config, const std::string& name, bool resume = false) {
    try {
      run(config, name, resume);
    } catch (const Error& e) {
      return std::string(e.what()) + " | " + e.hint();
    }
    return "no error";
  }

  /// Values of one key in metrics.jsonl (batches.jsonl), one a line; null where it has none.
  std::vector<nlohmann::json> column(const std::string& name, const char* key,
                                     const char* file = "metrics.jsonl") const {
    std::vector<nlohmann::json> values;
    std::istringstream lines(read_text_file(directory_ / name / file));
    for (std::string line; std::getline(lines, line);)
      values.push_back(nlohmann::json::parse(line).value(key, nlohmann::json()));
    return values;
  }

  TemporaryDirectory directory_{testing::UnitTest::GetInstance()->current_test_info()->name()};
  ThreadPool pool_{2};
};

}  // namespace fathom::train
