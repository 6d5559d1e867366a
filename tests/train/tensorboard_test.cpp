#include "train/tensorboard.h"

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <vector>

#include "base/file.h"
#include "temporary_directory.h"

namespace fathom::train {
namespace {

/// A reader of protobuf's wire format, enough for Event messages: field number -> values.
struct Message {
  std::map<uint64_t, std::vector<std::string>> fields;

  explicit Message(std::string_view data) {
    while (!data.empty()) {
      const uint64_t key = varint(data);
      size_t size = 0;
      switch (key & 7) {
        case 0: {
          const uint64_t value = varint(data);
          fields[key >> 3].emplace_back(reinterpret_cast<const char*>(&value), 8);
          continue;
        }
        case 1:
          size = 8;
          break;
        case 2:
          size = varint(data);
          break;
        case 5:
          size = 4;
          break;
        default:
          ADD_FAILURE() << "wire type " << (key & 7);
          return;
      }
      if (size > data.size()) {
        ADD_FAILURE() << "field of " << size << " bytes, " << data.size() << " left";
        return;
      }
      fields[key >> 3].emplace_back(data.substr(0, size));
      data.remove_prefix(size);
    }
  }
  static uint64_t varint(std::string_view& data) {
    uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
      const auto byte = static_cast<uint8_t>(data.front());
      data.remove_prefix(1);
      value |= uint64_t{byte & 0x7fu} << shift;
      if (byte < 0x80) return value;
    }
  }
  template <class T>
  T get(uint64_t field) const {
    T value{};
    if (!fields.count(field)) return value;
    std::memcpy(&value, fields.at(field).at(0).data(), sizeof value);
    return value;
  }
};

template <class T>
T take(std::string_view& data) {
  T value{};
  std::memcpy(&value, data.data(), sizeof value);
  data.remove_prefix(sizeof value);
  return value;
}

std::vector<Message> read_events(const std::filesystem::path& path) {
  const std::string file = read_text_file(path);
  std::string_view data = file;
  std::vector<Message> events;
  while (!data.empty()) {
    const std::string_view length_bytes = data.substr(0, 8);
    const auto length = take<uint64_t>(data);
    EXPECT_EQ(take<uint32_t>(data), masked_crc32c(length_bytes));
    const std::string_view record = data.substr(0, length);
    data.remove_prefix(length);
    EXPECT_EQ(take<uint32_t>(data), masked_crc32c(record));
    events.emplace_back(record);
  }
  return events;
}

TEST(Crc32c, KnownValues) {
  EXPECT_EQ(crc32c("123456789"), 0xE3069283u);              // the CRC catalogue's check value
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8A9136AAu);    // RFC 3720 B.4
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62A8AB43u);  // RFC 3720 B.4
}

TEST(TensorBoardWriter, EventsReadBack) {
  TemporaryDirectory dir("tensorboard");
  TensorBoardWriter writer(dir.path());
  writer.add(1, std::vector<Scalar>{{"loss/train", 3.25f}, {"optimizer/lr", 1e-4f}});
  writer.add(300, std::vector<Scalar>{{"loss/train", -0.5f}});
  EXPECT_EQ(writer.path().filename().string().rfind("events.out.tfevents.", 0), 0u);

  const auto events = read_events(writer.path());
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(events[0].fields.at(3).at(0), "brain.Event:2");
  EXPECT_GT(events[0].get<double>(1), 1.6e9) << "seconds since 1970";
  EXPECT_EQ(events[1].get<int64_t>(2), 1);
  EXPECT_EQ(events[2].get<int64_t>(2), 300);
  const Message summary(events[1].fields.at(5).at(0));
  ASSERT_EQ(summary.fields.at(1).size(), 2u);
  const Message value(summary.fields.at(1)[0]);
  EXPECT_EQ(value.fields.at(1).at(0), "loss/train");
  EXPECT_EQ(value.get<float>(2), 3.25f);
}

TEST(TensorBoardWriter, AResumedRunStartsASession) {
  TemporaryDirectory dir("tensorboard");
  const auto events = read_events(TensorBoardWriter(dir.path(), 41).path());
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[1].get<int64_t>(2), 41);
  EXPECT_EQ(Message(events[1].fields.at(7).at(0)).get<int64_t>(1), 1) << "SessionLog START";
}

}  // namespace
}  // namespace fathom::train
