#include <gtest/gtest.h>

#include <cstring>

#include "base/error.h"
#include "checkpoint/ramp.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/safetensors_writer.h"
#include "checkpoint/temporary_directory.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;
const fs::path kFixtures = fs::path(FATHOM_SOURCE_DIR) / "tests/fixtures/checkpoint";
constexpr const char* kIndex = "model.safetensors.index.json";

class SafetensorsReaderTest : public TemporaryDirectoryTest {
 protected:
  std::string open_error() const {
    try {
      CheckpointReader::open(dir_);
    } catch (const Error& e) {
      EXPECT_FALSE(e.hint().empty());
      return e.what();
    }
    return "no error";
  }
  void expect_open_error(std::string_view part) const {
    EXPECT_NE(open_error().find(part), std::string::npos) << open_error();
  }
  void write_one(const char* file, const char* tensor) const {
    const RampTensor ramp(DType::kF32);
    write_safetensors(dir_ / file, std::vector<NamedTensor>{{tensor, ramp.view()}});
  }
  void write_index(std::string_view weight_map) const {
    write_text_file(dir_ / kIndex,
                    "{\"metadata\":{},\"weight_map\":" + std::string(weight_map) + "}");
  }
};

void expect_ramp(const ConstTensorView& view, DType dtype) {
  ASSERT_EQ(view.dtype, dtype);
  ASSERT_EQ(view.rank, 2);
  EXPECT_EQ(view.shape[0], 3);
  EXPECT_EQ(view.shape[1], 5);
  EXPECT_EQ(view.stride[0], 5);
  const std::vector<uint8_t> expected = ramp_bytes(dtype);
  EXPECT_EQ(std::memcmp(view.data, expected.data(), expected.size()), 0) << name_of(dtype);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(view.data) % size_of(dtype), 0u);
}

TEST_F(SafetensorsReaderTest, ReadsWhatPythonWrote) {
  const SafetensorsFile file = SafetensorsFile::open(kFixtures / "all_dtypes.safetensors");
  EXPECT_EQ(file.metadata().at("format"), "pt");
  for (const RampTensor& ramp : all_ramps()) expect_ramp(file.view(ramp.name), ramp.dtype);
  EXPECT_EQ(file.view("scalar").rank, 0);
  EXPECT_EQ(*file.view("scalar").as<float>(), 2.5F);
  EXPECT_EQ(file.view("empty").elements(), 0);
}

TEST_F(SafetensorsReaderTest, ReadsAShardedCheckpoint) {
  const CheckpointReader reader = CheckpointReader::open(kFixtures / "sharded");
  EXPECT_EQ(reader.names().size(), 3u);
  EXPECT_EQ(reader.files().size(), 2u);
  EXPECT_EQ(reader.bytes(), 60u + 30u + 120u);
  expect_ramp(reader.get("x"), DType::kF32);
  expect_ramp(reader.get("y"), DType::kBF16);
  expect_ramp(reader.get("z"), DType::kI64);
  EXPECT_TRUE(reader.contains("x"));
  EXPECT_FALSE(reader.contains("w"));
  EXPECT_THROW(reader.get("w"), Error);
}

TEST_F(SafetensorsReaderTest, OpensASingleFile) {
  const CheckpointReader reader = CheckpointReader::open(kFixtures / "all_dtypes.safetensors");
  expect_ramp(reader.get("I32"), DType::kI32);
}

TEST_F(SafetensorsReaderTest, ViewsOutliveAMoveOfTheirFile) {
  SafetensorsFile file = SafetensorsFile::open(kFixtures / "all_dtypes.safetensors");
  const SafetensorsFile moved = std::move(file);
  expect_ramp(moved.view("F32"), DType::kF32);
}

TEST_F(SafetensorsReaderTest, MisalignedDataAreCopiedOnce) {
  std::string json = R"({"x":{"dtype":"F32","shape":[3,5],"data_offsets":[0,60]}})";
  while ((8 + json.size()) % 4 != 1) json += ' ';
  std::string bytes(8, '\0');
  bytes[0] = static_cast<char>(json.size());
  const std::vector<uint8_t> data = ramp_bytes(DType::kF32);
  write_text_file(dir_ / "x.safetensors", bytes + json + std::string(data.begin(), data.end()));
  const SafetensorsFile file = SafetensorsFile::open(dir_ / "x.safetensors");
  expect_ramp(file.view("x"), DType::kF32);
  EXPECT_EQ(file.view("x").data, file.view("x").data);
}

TEST_F(SafetensorsReaderTest, IndexAndShardsMustAgree) {
  write_one("1.safetensors", "a");
  write_one("2.safetensors", "b");
  write_index(R"({"a":"1.safetensors","b":"2.safetensors"})");
  EXPECT_EQ(CheckpointReader::open(dir_).names().size(), 2u);
  write_index(R"({"a":"1.safetensors","b":"1.safetensors"})");
  expect_open_error("places tensor \"b\" in 1.safetensors, which does not hold it");
  write_index(R"({"a":"1.safetensors","c":"2.safetensors"})");
  expect_open_error("places tensor \"c\" in 2.safetensors, which does not hold it");
  write_index(R"({"a":"1.safetensors","b":"3.safetensors","c":"4.safetensors"})");
  expect_open_error(
      "2 of the 3 files that model.safetensors.index.json names are missing: "
      "3.safetensors, 4.safetensors");
  write_one("2.safetensors", "a");
  write_index(R"({"a":"1.safetensors","b":"2.safetensors"})");
  expect_open_error("tensor \"a\" is also in 1.safetensors");
}

TEST_F(SafetensorsReaderTest, UnlistedTensor) {
  const RampTensor ramp(DType::kF32);
  write_safetensors(dir_ / "1.safetensors",
                    std::vector<NamedTensor>{{"a", ramp.view()}, {"b", ramp.view()}});
  write_index(R"({"a":"1.safetensors"})");
  expect_open_error("does not list tensor \"b\", which is in 1.safetensors");
}

TEST_F(SafetensorsReaderTest, MalformedIndex) {
  for (const char* text :
       {"", "{", "[]", "{}", R"({"weight_map":[]})", R"({"weight_map":{"a":1}})",
        R"({"weight_map":{"a":"../1.safetensors"}})", R"({"weight_map":{"a":"/etc/passwd"}})"}) {
    write_text_file(dir_ / kIndex, text);
    EXPECT_TRUE(open_error().starts_with((dir_ / kIndex).string() + ": ")) << open_error();
  }
}

TEST_F(SafetensorsReaderTest, ShardNamesOfSixDigits) {  // DeepSeek-V3's end in -of-000163
  write_one("model-00001-of-000002.safetensors", "a");
  expect_open_error("holds 1 of the 2 shards");
  write_one("model-00002-of-000002.safetensors", "b");
  EXPECT_EQ(CheckpointReader::open(dir_).names().size(), 2u);
}

TEST_F(SafetensorsReaderTest, DirectoryWithoutIndex) {
  expect_open_error("holds no .safetensors file");
  write_one("model-00001-of-00002.safetensors", "a");
  expect_open_error("holds 1 of the 2 shards");
  write_one("model-00002-of-00002.safetensors", "b");
  EXPECT_EQ(CheckpointReader::open(dir_).names().size(), 2u);
  write_one("other.safetensors", "b");
  fs::remove(dir_ / "model-00001-of-00002.safetensors");
  expect_open_error("is also in");
  EXPECT_THROW(CheckpointReader::open(dir_ / "none"), Error);
}

}  // namespace
}  // namespace fathom
