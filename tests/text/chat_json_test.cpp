#include "text/chat_json.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace fathom {
namespace {

std::string error_of(const std::string& json) {
  try {
    parse_chat_json(json, "m.json");
  } catch (const Error& e) {
    EXPECT_FALSE(e.hint().empty()) << e.what();
    return e.what();
  }
  return {};
}

TEST(ChatJson, ReadsTheOpenAiFormat) {
  const ChatJson chat = parse_chat_json(R"({"tools": [{"b": 1, "a": [true, null]}], "messages": [
      {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
      {"role": "assistant", "content": null, "reasoning_content": "hm", "tool_calls": [
        {"id": "i", "type": "function", "function": {"name": "f", "arguments": {"z": 1, "y": 2}}},
        {"function": {"name": "g", "arguments": "{}"}}]},
      {"role": "tool", "tool_call_id": "i", "name": "f", "content": "r"}]})",
                                        "m.json");
  ASSERT_EQ(chat.messages.size(), 3u);
  EXPECT_EQ(chat.messages[0].content, "ab");
  EXPECT_EQ(chat.messages[1].content, "");
  EXPECT_EQ(chat.messages[1].reasoning, "hm");
  ASSERT_EQ(chat.messages[1].tool_calls.size(), 2u);
  EXPECT_EQ(chat.messages[1].tool_calls[0].arguments, R"({"z": 1, "y": 2})");
  EXPECT_EQ(chat.messages[1].tool_calls[1].arguments, "{}");
  EXPECT_EQ(chat.messages[2].tool_call_id, "i");
  EXPECT_EQ(python_json(chat.tools, false), R"([{"b": 1, "a": [true, null]}])");
  EXPECT_EQ(python_json(chat.tools, true), R"([{"b":1,"a":[true,null]}])");
  EXPECT_EQ(parse_chat_json(R"([{"role": "user", "content": "x"}])", "m").messages.size(), 1u);
}

TEST(ChatJson, NamesWhatIsWrong) {
  EXPECT_EQ(error_of(R"({"messages": [{"content": "x"}]})"), "m.json: messages[0].role: missing");
  EXPECT_EQ(error_of(R"([{"role": "user", "content": 7}])"),
            "m.json: [0].content: expected a string, found 7");
  EXPECT_EQ(error_of(R"([{"role": "user", "content": [{"type": "image"}]}])"),
            "m.json: [0].content[0].type: \"image\" is not supported");
  EXPECT_EQ(error_of(R"([{"role": "user", "contents": "x"}])"),
            "m.json: [0].contents: unknown field");
  EXPECT_EQ(error_of(R"([{"role": "assistant", "tool_calls": [{"type": "x"}]}])"),
            "m.json: [0].tool_calls[0].type: only function is read");
  EXPECT_EQ(error_of(R"({"messages": [], "tools": {}})"),
            "m.json: tools: expected a list, found {}");
  EXPECT_NE(error_of("7"), "");
  EXPECT_NE(error_of("[{\"role\": \"user\", \"content\": \"\xFF\"}]"), "");
  EXPECT_NE(error_of(std::string(100000, '[')), "");
  EXPECT_NE(error_of(""), "");
}

}  // namespace
}  // namespace fathom
