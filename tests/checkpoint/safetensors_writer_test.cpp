#include "checkpoint/safetensors_writer.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>

#include "base/error.h"
#include "checkpoint/ramp.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/temporary_directory.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

class SafetensorsWriterTest : public TemporaryDirectoryTest {
 protected:
  static std::vector<TensorSpec> specs() {
    std::vector<TensorSpec> specs;
    for (const RampTensor& ramp : ramps()) specs.push_back({ramp.name, ramp.dtype, {3, 5}});
    return specs;
  }
  static const std::vector<RampTensor>& ramps() {
    static const std::vector<RampTensor> all = all_ramps();
    return all;
  }
  static ConstTensorView data_of(const std::string& name) {
    for (const RampTensor& ramp : ramps()) {
      if (ramp.name == name) return ramp.view();
    }
    return {};
  }
  void write_all(const fs::path& directory, uint64_t shard_bytes) {
    ShardedWriter writer(directory, specs(), shard_bytes);
    for (const TensorSpec& tensor : writer.order()) writer.write(data_of(tensor.name));
    writer.finish();
  }
  static void expect_all(const fs::path& directory) {
    const CheckpointReader reader = CheckpointReader::open(directory);
    EXPECT_EQ(reader.names().size(), ramps().size());
    for (const RampTensor& ramp : ramps()) {
      const ConstTensorView view = reader.get(ramp.name);
      ASSERT_EQ(view.bytes(), ramp.bytes.size());
      EXPECT_EQ(std::memcmp(view.data, ramp.bytes.data(), ramp.bytes.size()), 0) << ramp.name;
    }
  }
};

TEST_F(SafetensorsWriterTest, OneShardIsModelSafetensors) {
  write_all(dir_, ShardedWriter::kDefaultShardBytes);
  EXPECT_TRUE(fs::exists(dir_ / "model.safetensors"));
  EXPECT_FALSE(fs::exists(dir_ / "model.safetensors.index.json"));
  expect_all(dir_);
  const SafetensorsFile file = SafetensorsFile::open(dir_ / "model.safetensors");
  EXPECT_EQ(file.metadata().at("format"), "pt");
  for (const TensorInfo& tensor : file.tensors()) {
    EXPECT_EQ(tensor.begin % size_of(tensor.dtype), 0u) << tensor.name << " is not aligned";
  }
}

TEST_F(SafetensorsWriterTest, ShardsOfAtMostTheGivenSize) {
  for (const uint64_t shard_bytes : {1u, 60u, 100u, 250u}) {
    const fs::path directory = dir_ / std::to_string(shard_bytes);
    fs::create_directory(directory);
    write_all(directory, shard_bytes);
    expect_all(directory);
    const CheckpointReader reader = CheckpointReader::open(directory);
    for (const SafetensorsFile& file : reader.files()) {
      uint64_t bytes = 0;
      for (const TensorInfo& tensor : file.tensors()) bytes += tensor.bytes();
      EXPECT_TRUE(bytes <= shard_bytes || file.tensors().size() == 1);
    }
  }
  EXPECT_TRUE(fs::exists(dir_ / "1/model-00008-of-00008.safetensors"));
}

TEST_F(SafetensorsWriterTest, TensorsMayComeInParts) {
  ShardedWriter writer(dir_, specs(), 100);
  for (const TensorSpec& tensor : writer.order()) {
    const ConstTensorView view = data_of(tensor.name);
    const auto* bytes = static_cast<const uint8_t*>(view.data);
    writer.write_bytes(bytes, 7);
    writer.write_bytes(bytes + 7, view.bytes() - 7);
  }
  writer.finish();
  expect_all(dir_);
}

TEST_F(SafetensorsWriterTest, EmptyTensorsAndNoTensors) {
  ShardedWriter writer(dir_, {{"empty", DType::kF32, {0, 3}}});
  writer.write(ConstTensorView(nullptr, DType::kF32, {0, 3}));
  writer.finish();
  EXPECT_EQ(CheckpointReader::open(dir_).get("empty").elements(), 0);
  fs::create_directory(dir_ / "none");
  ShardedWriter(dir_ / "none", {}).finish();
  EXPECT_TRUE(CheckpointReader::open(dir_ / "none").names().empty());
}

TEST_F(SafetensorsWriterTest, AbandonedWriterLeavesNothing) {
  {
    ShardedWriter writer(dir_, specs(), 1);
    for (size_t i = 0; i < 3; ++i) writer.write(data_of(writer.order()[i].name));
    EXPECT_FALSE(fs::is_empty(dir_));
  }
  EXPECT_TRUE(fs::is_empty(dir_));
}

TEST_F(SafetensorsWriterTest, RefusesADirectoryWithACheckpoint) {
  write_all(dir_, 100);
  EXPECT_THROW(ShardedWriter(dir_, specs()), Error);
  expect_all(dir_);
}

TEST_F(SafetensorsWriterTest, UnwritableDirectoryAndFullDisk) {
  EXPECT_THROW(ShardedWriter(dir_ / "none", specs()), Error);
  EXPECT_THROW(ShardedWriter("/proc", specs()), Error);
  if (!fs::exists("/dev/full")) GTEST_SKIP();
  fs::create_symlink("/dev/full", dir_ / ("model.safetensors.tmp." + std::to_string(getpid())));
  EXPECT_THROW(write_all(dir_, ShardedWriter::kDefaultShardBytes), Error);
  EXPECT_TRUE(fs::is_empty(dir_));
}

TEST_F(SafetensorsWriterTest, HelperWritesNamedViews) {
  std::vector<NamedTensor> tensors;
  for (const RampTensor& ramp : ramps()) tensors.push_back({ramp.name, ramp.view()});
  write_safetensors(dir_ / "model.safetensors", tensors);
  expect_all(dir_);
  write_safetensors(dir_ / "model.safetensors", tensors);  // replaces
  expect_all(dir_);
}

/// For make_checkpoint_fixtures.py --check, which reads the files with Hugging Face's library.
TEST_F(SafetensorsWriterTest, WritesTheFixturesOnRequest) {
  const char* requested = std::getenv("FATHOM_WRITE_FIXTURES");
  const fs::path out = requested ? fs::path(requested) : dir_;
  const float scalar = 2.5F;
  std::vector<NamedTensor> tensors = {{"empty", {nullptr, DType::kF32, {0, 4}}},
                                      {"scalar", {&scalar, DType::kF32, {}}}};
  for (const RampTensor& ramp : ramps()) tensors.push_back({ramp.name, ramp.view()});
  write_safetensors(out / "all_dtypes.safetensors", tensors);
  fs::create_directories(out / "sharded");
  const RampTensor x(DType::kF32), y(DType::kBF16), z(DType::kI64);
  ShardedWriter writer(
      out / "sharded",
      {{"y", DType::kBF16, {3, 5}}, {"z", DType::kI64, {3, 5}}, {"x", DType::kF32, {3, 5}}}, 150);
  EXPECT_EQ(writer.order()[0].name, "z") << "wide dtypes first within a shard";
  writer.write(z.view());
  writer.write(y.view());
  writer.write(x.view());
  writer.finish();
  EXPECT_EQ(CheckpointReader::open(out / "sharded").files().size(), 2u);
}

}  // namespace
}  // namespace fathom
