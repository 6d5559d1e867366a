#include "text/chat_template.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "fixtures.h"
#include "text/bpe_trainer.h"
#include "text/chat_json.h"

namespace fathom {
namespace {

using Json = nlohmann::json;

std::string published(const std::string& name) {
  const std::filesystem::path file = fixture("../chat/templates") / (name + ".jinja");
  return read_text_file(file);
}

/// A small tokenizer with all markers of the format's family and this chat_template.
Tokenizer tokenizer_with(std::string_view format, const std::string& chat_template) {
  const bool deepseek = format.starts_with("deepseek") || format == "fathom";
  const std::string directory = deepseek ? "small/" : "tiktoken/";
  Json config = fixture_json(directory + "tokenizer_config.json");
  config["chat_template"] = chat_template;
  if (!deepseek) {
    return Tokenizer::from_tiktoken(read_text_file(fixture(directory + "tiktoken.model")), "m",
                                    config.dump());
  }
  Json file = fixture_json(directory + "tokenizer.json");
  int id = Tokenizer::load(fixture("small")).vocab_size();
  const auto add = [&](const std::string& content) {
    Json token = file["added_tokens"].back();
    token["content"] = content;
    token["id"] = id++;
    file["added_tokens"].push_back(token);
  };
  for (const char* name : {"calls▁begin", "calls▁end", "call▁begin", "call▁end", "outputs▁begin",
                           "outputs▁end", "output▁begin", "output▁end", "sep"}) {
    add(fmt::format("<｜tool▁{}｜>", name));
  }
  add("<think>");
  add("</think>");
  return Tokenizer::from_json(file.dump(), "m", config.dump());
}

Tokenizer published_tokenizer(std::string_view format) {
  return tokenizer_with(format, published(std::string(format)));
}

std::string error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& e) {
    EXPECT_FALSE(e.hint().empty()) << e.what();
    return e.what();
  }
  return {};
}

class ChatFormatTest : public testing::TestWithParam<std::string> {};

TEST_P(ChatFormatTest, RendersLikeThePublishedJinja) {
  const Tokenizer tokenizer = published_tokenizer(GetParam());
  const ChatTemplate chat(tokenizer);
  EXPECT_EQ(chat.format().name, GetParam());
  const Json cases = fixture_json("../chat/cases.json").at(GetParam());
  ASSERT_FALSE(cases.empty());
  for (const Json& c : cases) {
    const std::string request = c["request"];
    const ChatJson conversation = parse_chat_json(request, "case");
    ChatOptions options = {.add_generation_prompt = c["add_generation_prompt"],
                           .tools = conversation.tools};
    if (!c["thinking"].is_null()) options.thinking = c["thinking"].get<bool>();
    const std::string text = c["text"];
    EXPECT_EQ(chat.render(conversation.messages, options), text) << request;
    // What the ids stand for; a message that spells a marker is read as text.
    EXPECT_EQ(tokenizer.decode(chat.encode(conversation.messages, options)), text) << request;
  }
}

TEST_P(ChatFormatTest, ChosenByNameRendersTheSame) {
  const Tokenizer tokenizer = published_tokenizer(GetParam());
  const ChatTemplate detected(tokenizer), named(tokenizer, GetParam());
  const ChatMessage messages[] = {{"user", "a"}, {"assistant", "</think>b"}, {"user", "c"}};
  EXPECT_EQ(named.render(messages), detected.render(messages));
  EXPECT_EQ(named.encode(messages), detected.encode(messages));
  EXPECT_EQ(named.end_of_turn(), detected.end_of_turn());
}

TEST_P(ChatFormatTest, ContentsCannotForgeMarkers) {
  const Tokenizer tokenizer = published_tokenizer(GetParam());
  const ChatTemplate chat(tokenizer);
  std::string forged;
  for (const AddedToken& token : tokenizer.added_tokens()) forged += token.content;
  const ChatMessage honest[] = {{"system", "x"}, {"user", "x"}, {"assistant", "x"}, {"user", "x"}};
  std::vector<ChatMessage> lying(std::begin(honest), std::end(honest));
  for (ChatMessage& m : lying) m.content = forged;
  const auto markers = [&](std::span<const ChatMessage> messages) {
    std::vector<int32_t> found;
    for (int32_t id : chat.encode(messages)) {
      const bool added =
          std::any_of(tokenizer.added_tokens().begin(), tokenizer.added_tokens().end(),
                      [&](const AddedToken& token) { return token.id == id; });
      if (added) found.push_back(id);
    }
    return found;
  };
  EXPECT_EQ(markers(lying), markers(honest));
}

TEST_P(ChatFormatTest, NamesWhatIsWrong) {
  const Tokenizer tokenizer = published_tokenizer(GetParam());
  const ChatTemplate chat(tokenizer);
  EXPECT_NE(error_of([&] { chat.encode({}); }), "");
  const ChatMessage critic[] = {{"user", "a"}, {"critic", "b"}};
  EXPECT_EQ(error_of([&] { chat.encode(critic); }), "messages[1].role is \"critic\"");
  const std::vector<ChatMessage> calls = {
      {"user", "a"}, {.role = "assistant", .tool_calls = {{.name = "f", .arguments = "{}"}}}};
  EXPECT_EQ(error_of([&] { chat.encode(calls); }).empty(), chat.format().has_tool_calls);
  const ChatMessage user[] = {{"user", "a"}};
  EXPECT_EQ(error_of([&] { chat.encode(user, {.tools = "[{}]"}); }).empty(),
            chat.format().has_tool_definitions);
  EXPECT_EQ(error_of([&] { chat.encode(user, {.thinking = true}); }).empty(),
            chat.format().has_thinking_switch);
}

INSTANTIATE_TEST_SUITE_P(Formats, ChatFormatTest,
                         testing::Values("deepseek-v2", "deepseek-v2.5", "deepseek-v3",
                                         "deepseek-v3-0324", "deepseek-r1-0120", "deepseek-r1",
                                         "deepseek-r1-0528", "deepseek-v3.1", "fathom", "moonlight",
                                         "kimi-k2-0711", "kimi-k2", "kimi-k2-thinking"));

TEST(ChatTemplate, EveryFormatIsTested) {
  EXPECT_EQ(fixture_json("../chat/cases.json").size(), chat_formats().size());
  for (const ChatFormat& format : chat_formats())
    EXPECT_FALSE(published(std::string(format.name)).empty());
}

TEST(ChatTemplate, EndsWhereTheReplyBegins) {
  const ChatMessage user[] = {{"user", "Hi"}};
  const auto prompt = [&](const char* name, std::optional<bool> thinking = {}) {
    const Tokenizer tokenizer = published_tokenizer(name);
    const ChatTemplate chat(tokenizer);
    const ChatOptions options = {.thinking = thinking};
    return chat.render(user, options) + (chat.opens_thinking(options) ? " thinks" : "");
  };
  const std::string head = "<｜begin▁of▁sentence｜><｜User｜>Hi<｜Assistant｜>";
  EXPECT_EQ(prompt("deepseek-v3"), head);
  EXPECT_EQ(prompt("deepseek-v3-0324"), head);
  EXPECT_EQ(prompt("deepseek-r1"), head + "<think>\n thinks");
  EXPECT_EQ(prompt("deepseek-r1-0120"), head);
  EXPECT_EQ(prompt("deepseek-v3.1"), head + "</think>");
  EXPECT_EQ(prompt("deepseek-v3.1", true), head + "<think> thinks");
  EXPECT_EQ(prompt("deepseek-v2"), "<｜begin▁of▁sentence｜>User: Hi\n\nAssistant:");
}

TEST(ChatTemplate, WhatTrainingWritesIsRecognised) {
  const std::string jinja = Json::parse(tokenizer_config_json())["chat_template"];
  EXPECT_EQ(jinja, published("fathom"));
}

TEST(ChatTemplate, NoneIsAnErrorThatOffersTheChoice) {
  const Tokenizer tokenizer = Tokenizer::load(fixture("small"));
  EXPECT_NE(error_of([&] { ChatTemplate{tokenizer}; }).find("no chat_template"), std::string::npos);
  const ChatTemplate chat(tokenizer, "deepseek-v3");  // its markers suffice without tools
  const ChatMessage user[] = {{"user", "x"}};
  EXPECT_EQ(chat.render(user), "<｜begin▁of▁sentence｜><｜User｜>x<｜Assistant｜>");
}

TEST(ChatTemplate, UnknownOnesAreErrors) {
  const auto error = [](const std::string& jinja) {
    const Tokenizer tokenizer = tokenizer_with("deepseek-v3", jinja);
    return error_of([&] { ChatTemplate{tokenizer}; });
  };
  EXPECT_NE(error("{% for m in messages %}<|im_start|>{{ m.role }}{% endfor %}").find("of no kind"),
            std::string::npos);
  EXPECT_NE(error("{{ broken").find("of no kind"), std::string::npos);
  EXPECT_NE(error(published("deepseek-v3") + "<｜search▁begin｜>")
                .find("has the marker <｜search▁begin｜>"),
            std::string::npos);
  const Tokenizer tokenizer = published_tokenizer("deepseek-v3");
  EXPECT_EQ(error_of([&] { ChatTemplate(tokenizer, "vicuna"); }),
            "there is no chat template \"vicuna\"");
  EXPECT_NE(
      error_of([&] { ChatTemplate(tokenizer, "kimi-k2"); }).find("has no token <|im_system|>"),
      std::string::npos);
}

TEST(ChatTemplate, FormattingOfTheJinjaDoesNotMatter) {
  std::string spread = published("deepseek-v3.1");
  for (size_t at = 0; (at = spread.find("{%-", at)) != std::string::npos; at += 5) {
    spread.replace(at, 3, "\n  {%-");
  }
  EXPECT_EQ(detect_chat_format(spread, "t").first->name, "deepseek-v3.1");
}

}  // namespace
}  // namespace fathom
