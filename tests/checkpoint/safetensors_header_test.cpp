#include "checkpoint/safetensors_header.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace fathom {
namespace {

std::string file_with(const std::string& json, size_t data_bytes) {
  std::string file;
  for (int i = 0; i < 8; ++i) file.push_back(static_cast<char>(json.size() >> (8 * i) & 0xff));
  return file + json + std::string(data_bytes, '\0');
}

SafetensorsHeader parse(const std::string& file) {
  return parse_safetensors_header(std::as_bytes(std::span(file)), "w.safetensors");
}

std::string message_of(const std::string& file) {
  try {
    parse(file);
  } catch (const Error& e) {
    EXPECT_FALSE(e.hint().empty());
    return e.what();
  }
  return "no error";
}

const char* const kTwo = R"({"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
                         R"("b":{"dtype":"BF16","shape":[4],"data_offsets":[24,32]}})";

TEST(SafetensorsHeaderTest, AcceptsAWellFormedFile) {
  const SafetensorsHeader header = parse(file_with(kTwo, 32));
  ASSERT_EQ(header.tensors.size(), 2u);
  EXPECT_EQ(header.tensors[0].name, "a");
  EXPECT_EQ(header.tensors[0].shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(header.tensors[1].dtype, DType::kBF16);
  EXPECT_EQ(header.tensors[1].begin, 8 + std::string(kTwo).size() + 24);
}

TEST(SafetensorsHeaderTest, ScalarsEmptyTensorsMetadataAndEveryDtype) {
  const SafetensorsHeader header =
      parse(file_with(R"({"__metadata__":{"format":"pt"},)"
                      R"("s":{"dtype":"F64","shape":[],"data_offsets":[0,8]},)"
                      R"("none":{"dtype":"I64","shape":[0,7],"data_offsets":[8,8]},)"
                      R"("i":{"dtype":"I32","shape":[1],"data_offsets":[8,12]},)"
                      R"("h":{"dtype":"F16","shape":[1],"data_offsets":[12,14]},)"
                      R"("q":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[14,15]},)"
                      R"("u":{"dtype":"U8","shape":[1],"data_offsets":[15,16]},)"
                      R"("t":{"dtype":"BOOL","shape":[2],"data_offsets":[16,18]}}   )",
                      18));
  EXPECT_EQ(header.metadata.at("format"), "pt");
  ASSERT_EQ(header.tensors.size(), 7u);
  EXPECT_EQ(header.tensors[0].shape.size(), 0u);
  EXPECT_EQ(header.tensors.back().dtype, DType::kU8);
}

TEST(SafetensorsHeaderTest, TruncatedAnywhereIsOneError) {
  const std::string whole = file_with(kTwo, 32);
  for (size_t length = 0; length < whole.size(); ++length) {
    const std::string message = message_of(whole.substr(0, length));
    EXPECT_TRUE(message.starts_with("w.safetensors: ")) << length << ": " << message;
    EXPECT_EQ(message.find('\n'), std::string::npos);
  }
}

TEST(SafetensorsHeaderTest, AnyByteOfTheHeaderChangedNeverReadsOutside) {
  const std::string whole = file_with(kTwo, 32);
  for (size_t i = 0; i + 32 < whole.size(); ++i) {
    for (const char change : {'\x01', '\x10', '\x80', '\xff'}) {
      std::string damaged = whole;
      damaged[i] = static_cast<char>(damaged[i] ^ change);
      try {
        for (const TensorInfo& tensor : parse(damaged).tensors) {
          EXPECT_LE(tensor.begin + tensor.bytes(), damaged.size());
        }
      } catch (const Error&) {
      }
    }
  }
}

TEST(SafetensorsHeaderTest, LyingLengths) {
  std::string file = file_with(kTwo, 32);
  file.replace(0, 8, std::string(8, '\xff'));
  EXPECT_EQ(message_of(file),
            "w.safetensors: claims a header of 18446744073709551615 bytes, more than 100000000: "
            "not a safetensors file");
  file = file_with(kTwo, 32);
  file[1] = 1;  // 256 bytes more
  EXPECT_NE(message_of(file).find("but has only"), std::string::npos);
  EXPECT_EQ(message_of("short"), "w.safetensors: has 5 bytes, too few for a safetensors file");
  EXPECT_NE(message_of(file_with("", 4)).find("not valid JSON"), std::string::npos);
}

struct Case {
  const char* json;
  size_t data;
  const char* message;
};

TEST(SafetensorsHeaderTest, MalformedHeaders) {
  const Case cases[] = {
      {"[]", 0, "not a JSON object"},
      {"{", 0, "not valid JSON"},
      {"{}x", 0, "not valid JSON"},
      {"{\"\xff\":1}", 0, "not valid JSON"},
      {R"({"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{}}}}}}}}})", 0, "nested deeper than 8"},
      {R"({"__metadata__":[]})", 0, "__metadata__ is not an object"},
      {R"({"__metadata__":{"format":1}})", 0, "__metadata__ \"format\" is 1, not a string"},
      {R"({"a":3})", 0, "tensor \"a\": its entry is 3, not an object"},
      {R"({"a":{"shape":[1],"data_offsets":[0,4]}})", 4, "tensor \"a\": dtype is missing"},
      {R"({"a":{"dtype":"F32","data_offsets":[0,4]}})", 4, "tensor \"a\": shape is missing"},
      {R"({"a":{"dtype":"F32","shape":[1]}})", 4, "tensor \"a\": data_offsets is missing"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}})", 4, "unknown field \"x\""},
      {R"({"a":{"dtype":"F4","shape":[1],"data_offsets":[0,4]}})", 4,
       "dtype \"F4\" is not supported"},
      {R"({"a":{"dtype":7,"shape":[1],"data_offsets":[0,4]}})", 4, "dtype 7 is not supported"},
      {R"({"a":{"dtype":"F32","shape":4,"data_offsets":[0,4]}})", 4, "shape 4 is not a list"},
      {R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4,
       "shape [-1] has a size that is not a count"},
      {R"({"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}})", 4, "not a count"},
      {R"({"a":{"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,4]}})", 4,
       "not a count"},
      {R"({"a":{"dtype":"F32","shape":[1,1,1,1,1],"data_offsets":[0,4]}})", 4,
       "has 5 dimensions, at most 4"},
      {R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}})", 4,
       "overflows"},
      {R"({"a":{"dtype":"F32","shape":[0,4294967296,4294967296],"data_offsets":[0,0]}})", 0,
       "overflows"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}})", 4, "not two byte counts"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,-4]}})", 4, "not two byte counts"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", 4, "run backwards"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,8]}})", 4, "past the end of the file"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[18446744073709551612,18446744073709551615]}})",
       4, "past the end of the file"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4,
       "span 4 bytes but its dtype and shape need 8"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 8, "leaving a hole"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 6,
       "2 bytes follow the last tensor's data"},
      {R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}})",
       6, "tensor \"b\": its data begin at 2, overlapping"},
      {R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})",
       4, "overlapping"},
      {R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
       2, "the name \"a\" occurs twice"},
  };
  for (const Case& c : cases) {
    const std::string message = message_of(file_with(c.json, c.data));
    EXPECT_TRUE(message.starts_with("w.safetensors: ")) << message;
    EXPECT_NE(message.find(c.message), std::string::npos) << c.json << "\ngave: " << message;
  }
}

TEST(SafetensorsHeaderTest, WrittenHeadersAreReadBack) {
  const std::vector<TensorSpec> specs = {{"z", DType::kF32, {3}},
                                         {"scalar", DType::kF32, {}},
                                         {"a \"quoted\" ｜name", DType::kBF16, {0, 5}},
                                         {"m", DType::kE4M3, {2, 2, 1, 3}}};
  std::string file = make_safetensors_header(specs, {{"format", "pt"}, {"by", "test"}});
  EXPECT_EQ(file.size() % 8, 0u);
  file += std::string(12 + 4 + 12, '\0');
  const SafetensorsHeader header = parse(file);
  EXPECT_EQ(header.metadata.at("by"), "test");
  EXPECT_EQ(std::vector<TensorSpec>(header.tensors.begin(), header.tensors.end()), specs);
  EXPECT_TRUE(parse(make_safetensors_header({}, {})).tensors.empty());
}

}  // namespace
}  // namespace fathom
