#include "train/run.h"

#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <fstream>
#include <map>
#include <thread>

#include "checkpoint/model_io.h"
#include "checkpoint/safetensors.h"
#include "run_fixture.h"

namespace fathom::train {
namespace {
namespace fs = std::filesystem;
using Overrides = std::vector<std::string>;

// The contents of every file below a directory but what holds times and their checksums.
std::map<std::string, std::string> files_of(const fs::path& directory) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(directory)) {
    const std::string name = fs::relative(entry.path(), directory);
    if (entry.is_regular_file() && name != "checksums.json" && !name.ends_with("state.json"))
      files.emplace(name, read_text_file(entry.path()));
  }
  return files;
}

std::vector<nlohmann::json> steps(int64_t last) {
  std::vector<nlohmann::json> numbers;
  for (int64_t s = 1; s <= last; ++s) numbers.emplace_back(s);
  return numbers;
}

void flip_a_byte(const fs::path& path) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(-5, std::ios::end);
  const char byte = static_cast<char>(file.get());
  file.seekp(-5, std::ios::end);
  file.put(static_cast<char>(byte ^ 1));
}

// Asks this process to stop once the run has written so many lines of metrics: while it trains. A
// request that comes too late is ignored.
class StopAfter {
 public:
  StopAfter(const fs::path& metrics, int lines)
      : previous_(signal(SIGTERM, SIG_IGN)), thread_([metrics, lines] { wait(metrics, lines); }) {}
  ~StopAfter() {
    thread_.join();
    signal(SIGTERM, previous_);
  }

 private:
  static void wait(const fs::path& metrics, int lines) {
    for (int i = 0; i < 20'000; ++i) {
      std::ifstream file(metrics);
      std::string line;
      int seen = 0;
      while (std::getline(file, line)) ++seen;
      if (seen >= lines) return static_cast<void>(kill(getpid(), SIGTERM));
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }

  void (*previous_)(int);
  std::thread thread_;
};

class EachPrecision : public RunTest, public testing::WithParamInterface<const char*> {
 protected:
  void expect_same_run(const std::string& a, const std::string& b) const {
    const auto expected = files_of(directory_ / a / "final");
    const auto actual = files_of(directory_ / b / "final");
    EXPECT_TRUE(expected.count("training_state/optimizer.safetensors"));
    ASSERT_EQ(actual.size(), expected.size());
    for (const auto& [name, bytes] : expected)
      EXPECT_TRUE(actual.count(name) && actual.at(name) == bytes) << name;
    for (const char* key : {"step", "tokens", "loss", "mtp_loss", "balance_loss", "grad_norm",
                            "max_violation", "valid_loss"})
      EXPECT_EQ(column(a, key), column(b, key)) << key;
    EXPECT_EQ(column(a, "tokens", "batches.jsonl"), column(b, "tokens", "batches.jsonl"));
  }
  std::string precision() const { return std::string("train.precision=") + GetParam(); }
};

// Killed after some checkpoint: what came later is done again.
TEST_P(EachPrecision, ResumingAfterAKillGivesTheSameBytes) {
  const TrainConfig c = config({precision()});
  EXPECT_TRUE(run(c, "whole").finished);
  fs::copy(directory_ / "whole", directory_ / "killed", fs::copy_options::recursive);
  fs::remove_all(directory_ / "killed/final");
  fs::remove_all(directory_ / "killed/checkpoints/step-6");
  const RunResult resumed = run(c, "killed", true);
  EXPECT_TRUE(resumed.finished);
  EXPECT_EQ(resumed.last.step, 8);
  expect_same_run("whole", "killed");
  EXPECT_EQ(column("killed", "step"), steps(8));
  EXPECT_EQ(column("killed", "step", "batches.jsonl"), steps(8));
}

TEST_P(EachPrecision, ResumingAfterASignalGivesTheSameBytes) {
  const TrainConfig c = config({precision(), "train.steps=60", "train.checkpoint_every=0"});
  EXPECT_TRUE(run(c, "whole").finished);
  RunResult stopped;
  stopped.finished = true;
  // On a busy machine the signal may come when all is done: then again.
  for (int attempt = 0; attempt < 20 && stopped.finished; ++attempt) {
    fs::remove_all(directory_ / "stopped");
    const StopAfter stop(directory_ / "stopped/metrics.jsonl", 3);
    stopped = run(c, "stopped");
  }
  EXPECT_FALSE(stopped.finished);
  EXPECT_EQ(stopped.model.filename(), "step-" + std::to_string(stopped.last.step));
  EXPECT_FALSE(fs::exists(directory_ / "stopped/final"));
  EXPECT_TRUE(run(c, "stopped", true).finished);
  expect_same_run("whole", "stopped");
}

INSTANTIATE_TEST_SUITE_P(Precisions, EachPrecision, testing::Values("fp32", "bf16", "fp8"),
                         [](const auto& info) { return info.param; });

class Run : public RunTest {};

TEST_F(Run, LearnsAndReportsEveryStep) {
  const RunResult r = run(config({"train.steps=60", "train.checkpoint_every=0"}), "run");
  const auto loss = column("run", "loss");
  ASSERT_EQ(loss.size(), 60u);
  EXPECT_NEAR(loss[0].get<double>(), std::log(300.0), 0.5);
  EXPECT_LT(loss[59].get<double>(), loss[0].get<double>() - 1);
  ASSERT_TRUE(r.valid_loss.has_value());
  EXPECT_LT(*r.valid_loss, std::log(300.0) - 1);
  EXPECT_EQ(column("run", "tokens").back(), 60 * 64);
  EXPECT_FALSE(fs::exists(directory_ / "run/checkpoints/step-60"));
}

TEST_F(Run, DamagedCheckpointsArePassedOver) {
  run(config(), "run");
  const auto final_bytes = files_of(directory_ / "run/final");
  fs::remove_all(directory_ / "run/final");
  flip_a_byte(directory_ / "run/checkpoints/step-6/training_state/optimizer.safetensors");
  const fs::path cut = directory_ / "run/checkpoints/step-4/model.safetensors";
  fs::resize_file(cut, fs::file_size(cut) - 1);
  EXPECT_EQ(newest_whole(list_checkpoints(directory_ / "run/checkpoints")),
            directory_ / "run/checkpoints/step-2");
  EXPECT_TRUE(run(config(), "run", true).finished);
  EXPECT_EQ(files_of(directory_ / "run/final"), final_bytes);
}

TEST_F(Run, NothingWholeIsAnErrorAndNotANewStart) {
  run(config(), "run");
  for (const char* name : {"final", "checkpoints/step-2", "checkpoints/step-4"})
    fs::remove_all(directory_ / "run" / name);
  flip_a_byte(directory_ / "run/checkpoints/step-6/mtp.safetensors");
  EXPECT_NE(error_of(config(), "run", true).find("no checkpoint"), std::string::npos);
  EXPECT_EQ(column("run", "step"), steps(8));
}

TEST_F(Run, AnotherModelIsAnErrorAndNotANewStart) {
  run(config(), "run");
  ModelConfig wider = tiny_model();
  wider.intermediate_size *= 2;
  write_quickly(directory_ / "config.json", wider.to_json("float32"));
  const std::string error = error_of(config(), "run", true);
  EXPECT_NE(error.find("the checkpoint's model is not the run's"), std::string::npos) << error;
  EXPECT_EQ(column("run", "step"), steps(8));
}

TEST_F(Run, AFinishedRunStaysAsItIs) {
  run(config(), "run");
  const auto before = files_of(directory_ / "run");
  const RunResult again = run(config(), "run", true);
  EXPECT_TRUE(again.finished);
  EXPECT_EQ(again.last.step, 8);
  for (const auto& [name, bytes] : before) {
    if (!name.starts_with("tensorboard")) {
      EXPECT_EQ(read_text_file(directory_ / "run" / name), bytes) << name;
    }
  }
}

TEST_F(Run, AFinishedRunCanGoOn) {
  run(config(), "run");
  const RunResult more = run(config({"train.steps=10"}), "run", true);
  EXPECT_EQ(more.last.step, 10);
  EXPECT_EQ(column("run", "step"), steps(10));
}

TEST_F(Run, AnExistingRunIsNotOverwritten) {
  run(config(), "run");
  const auto before = files_of(directory_ / "run");
  const std::string error = error_of(config(), "run");
  EXPECT_NE(error.find("already holds a run"), std::string::npos) << error;
  EXPECT_NE(error.find("--resume"), std::string::npos) << error;
  EXPECT_EQ(files_of(directory_ / "run"), before);
}

TEST_F(Run, ResumingNothingStartsAnew) {
  EXPECT_TRUE(run(config(), "run", true).finished);
  EXPECT_EQ(column("run", "step"), steps(8));
}

TEST_F(Run, NanStopsAndTheLastCheckpointStays) {
  run(config(), "run");
  fs::remove_all(directory_ / "run/final");
  const std::string error = error_of(config({"optimizer.lr=1e38", "train.steps=20",
                                             "train.checkpoint_every=0", "optimizer.grad_clip=0"}),
                                     "run", true);
  EXPECT_NE(error.find("step-6"), std::string::npos) << error;
  EXPECT_FALSE(fs::exists(directory_ / "run/final"));
  const auto kept = list_checkpoints(directory_ / "run/checkpoints");
  EXPECT_EQ(newest_whole(kept), directory_ / "run/checkpoints/step-6");
}

TEST_F(Run, KeepsTheNewestCheckpoints) {
  run(config({"train.keep_checkpoints=2"}), "run");
  const auto kept = list_checkpoints(directory_ / "run/checkpoints");
  EXPECT_EQ(kept, (std::vector<fs::path>{directory_ / "run/checkpoints/step-6",
                                         directory_ / "run/checkpoints/step-4"}));
}

TEST_F(Run, KeepsTheAveragedWeightsAsAModel) {
  run(config(), "run");
  const std::string name = "model.layers.1.self_attn.o_proj.weight";
  const StoredModel averaged = StoredModel::open(directory_ / "run/final-ema");
  const StoredModel last = StoredModel::open(directory_ / "run/final");
  const SafetensorsFile state =
      SafetensorsFile::open(directory_ / "run/final/training_state/optimizer.safetensors");
  const ConstTensorView expected = state.view("ema." + name);
  const TensorView actual = averaged.weights.layers[1].self_attn.o_proj.weight;
  EXPECT_EQ(std::memcmp(actual.data, expected.data, expected.bytes()), 0);
  const TensorView other = last.weights.layers[1].self_attn.o_proj.weight;
  EXPECT_NE(std::memcmp(actual.data, other.data, expected.bytes()), 0);

  run(config({"optimizer.ema_decay=0"}), "without");
  EXPECT_FALSE(fs::exists(directory_ / "without/final-ema"));
}

TEST_F(Run, LeftoversOfKilledProcessesAreRemoved) {
  const fs::path left = directory_ / "run/checkpoints/step-6.tmp.999999999";
  fs::create_directories(left);
  run(config({"train.steps=2"}), "run");
  EXPECT_FALSE(fs::exists(left));
}

TEST_F(Run, StartsFromACheckpoint) {
  run(config({"train.steps=20", "train.checkpoint_every=0"}), "first");
  const RunResult second = run(config({"model=" + (directory_ / "first/final").string(),
                                       "train.steps=1", "optimizer.lr=1e-9"}),
                               "second");
  EXPECT_LT(second.last.loss, column("first", "loss")[5].get<double>());
}

// The same batch in other portions: sums in another order, so to FP32 rounding of some hundred
// terms.
TEST_F(Run, MicroBatchesAddUpToTheBatch) {
  run(config({"train.steps=1", "train.micro_batch=1"}), "one");
  run(config({"train.steps=1", "train.micro_batch=4"}), "four");
  for (const char* key : {"loss", "mtp_loss", "balance_loss", "grad_norm"}) {
    const double a = column("one", key)[0], b = column("four", key)[0];
    EXPECT_NEAR(a, b, 1e-5 * b) << key;
  }
  EXPECT_EQ(column("one", "max_violation"), column("four", "max_violation"));
}

TEST_F(Run, Fp8StatisticsComeWithEvaluations) {
  run(config({"train.precision=fp8", "fp8.statistics=true"}), "run");
  const auto stats = column("run", "fp8_stats");
  ASSERT_EQ(stats.size(), 8u);
  EXPECT_TRUE(stats[2].is_null());
  const nlohmann::json& one = stats[3].at("model.layers.1.self_attn.o_proj.gradient");
  EXPECT_GT(one.at("amax").get<double>(), 0);
  EXPECT_LT(one.at("underflow").get<double>(), 1);
  EXPECT_GT(one.at("saturation").get<double>(), 0);
}

TEST_F(Run, Fp8KeepsLessThanBf16) {
  run(config({"train.precision=bf16"}), "bf16");
  run(config({"train.precision=fp8"}), "fp8");
  const auto bytes = [&](const char* name) {
    return column(name, "activation_bytes").back().get<double>();
  };
  EXPECT_LT(bytes("fp8"), 0.7 * bytes("bf16"));
}

TEST_F(Run, NamesWhatDoesNotFit) {
  const auto expect = [&](const Overrides& overrides, std::initializer_list<const char*> parts) {
    const std::string error = error_of(config(overrides), "run");
    for (const char* part : parts)
      EXPECT_NE(error.find(part), std::string::npos) << part << " in: " << error;
    EXPECT_FALSE(fs::exists(directory_ / "run/metrics.jsonl"));
  };
  expect({"data.seq_len=256", "train.batch_tokens=512"},
         {"data.seq_len = 256", "max_position_embeddings = 128"});
  expect({"model=nanno"}, {"nanno", "nano"});
  ModelConfig small = tiny_model();
  small.vocab_size = 299;
  write_quickly(directory_ / "config.json", small.to_json("float32"));
  expect({}, {"300", "299"});
  write_quickly(directory_ / "config.json", tiny_model().to_json("float32"));
  write_quickly(directory_ / "text.txt", "");
  expect({}, {"text.txt", "empty"});
}

}  // namespace
}  // namespace fathom::train
