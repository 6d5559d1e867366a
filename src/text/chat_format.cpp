#include "text/chat_format.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "base/error.h"

namespace fathom {
namespace {

constexpr std::string_view kDeepSeekMarkers =
    "<｜User｜><｜Assistant｜><｜end▁of▁sentence｜><｜tool▁calls▁begin｜><｜tool▁calls▁end｜>"
    "<｜tool▁call▁begin｜><｜tool▁call▁end｜><｜tool▁sep｜><｜tool▁outputs▁begin｜>"
    "<｜tool▁outputs▁end｜><｜tool▁output▁begin｜><｜tool▁output▁end｜>";
/// The media markers stand in branches for images, which no message here has.
constexpr std::string_view kKimiMarkers =
    "<|im_system|><|im_user|><|im_assistant|><|im_middle|><|im_end|><|tool_calls_section_begin|>"
    "<|tool_calls_section_end|><|tool_call_begin|><|tool_call_argument_begin|><|tool_call_end|>"
    "<|media_start|><|media_content|><|media_pad|><|media_end|>";
constexpr std::string_view kAllRoles = "system user assistant tool",
                           kPlainRoles = "system user assistant";
constexpr std::string_view kImEnd = "<|im_end|>";

// Pieces of templates, as simplified() leaves them.
constexpr std::string_view kUserTurn = "'<｜User｜>'+message['content']}}",
                           kOpenUserTurn = "+'<｜Assistant｜>'}}",
                           kThinkEnd = "'</think>'incontent",
                           kThinkPrompt = "'<｜Assistant｜><think>", kLastUser = "ns.is_last_user",
                           kThinking = "notthinking",
                           kSystemTurn = "<|im_system|>system<|im_middle|>",
                           kCallSection = "<|tool_calls_section_begin|>",
                           kToolList = "tool_declare", kReturnOf = "##Returnof{{",
                           kFathomSystem = "ns.system=ns.system+";

std::vector<ChatFormat> make_formats() {
  const std::string helpful = "You are a helpful assistant",
                    kimi = "You are Kimi, an AI assistant created by Moonshot AI.";
  return {
      {.name = "deepseek-v2",
       .models = "DeepSeek-V2, V2-Lite",
       .has = {"'User:'+message['content']", "'Assistant:'+message['content']"},
       .roles = kPlainRoles,
       .has_tool_calls = false,
       .render = render_deepseek_v2},
      {.name = "deepseek-v2.5",
       .models = "DeepSeek-V2.5",
       .has = {kUserTurn, "ns.system_prompt=message['content']"},
       .lacks = {kThinkEnd, kLastUser, kThinking},
       .markers = kDeepSeekMarkers,
       .roles = kAllRoles,
       .style = {.outputs_on_lines = true},
       .render = render_deepseek_v3},
      {.name = "deepseek-v3",
       .models = "DeepSeek-V3",
       .has = {kUserTurn, "ns.is_first_sp"},
       .lacks = {kThinkEnd, kLastUser, kThinking},
       .markers = kDeepSeekMarkers,
       .roles = kAllRoles,
       .style = {.joins_system = true, .outputs_on_lines = true},
       .render = render_deepseek_v3},
      {.name = "fathom",
       .models = "models trained by Fathom: DeepSeek-V3's turns without tools",
       .has = {kUserTurn, kFathomSystem},
       .markers = kDeepSeekMarkers,
       .roles = kPlainRoles,
       .has_tool_calls = false,
       .style = {.joins_system = true},
       .render = render_deepseek_v3},
      {.name = "deepseek-v3-0324",
       .models = "DeepSeek-V3-0324",
       .has = {kOpenUserTurn, kLastUser},
       .lacks = {kThinkEnd, kThinking},
       .markers = kDeepSeekMarkers,
       .roles = kAllRoles,
       .style = {.joins_system = true, .outputs_on_lines = true},
       .render = render_deepseek_v3_0324},
      {.name = "deepseek-r1-0120",
       .models = "DeepSeek-R1 as first released",
       .has = {kUserTurn, kThinkEnd},
       .lacks = {kThinkPrompt, kLastUser, kThinking},
       .markers = kDeepSeekMarkers,
       .roles = kAllRoles,
       .style = {.joins_system = true, .strips_reasoning = true, .outputs_on_lines = true},
       .render = render_deepseek_v3},
      {.name = "deepseek-r1",
       .models = "DeepSeek-R1",
       .has = {kUserTurn, kThinkEnd, kThinkPrompt},
       .lacks = {kLastUser, kThinking},
       .markers = kDeepSeekMarkers,
       .roles = kAllRoles,
       .style = {.joins_system = true,
                 .strips_reasoning = true,
                 .opens_thinking = true,
                 .calls_beside_content = true},
       .render = render_deepseek_v3},
      {.name = "deepseek-r1-0528",
       .models = "DeepSeek-R1-0528",
       .has = {kOpenUserTurn, kLastUser, kThinkEnd},
       .lacks = {kThinking},
       .markers = kDeepSeekMarkers,
       .roles = kAllRoles,
       .style = {.joins_system = true, .strips_reasoning = true, .outputs_on_lines = true},
       .render = render_deepseek_v3_0324},
      {.name = "deepseek-v3.1",
       .models = "DeepSeek-V3.1",
       .has = {kUserTurn, kLastUser, kThinking, kThinkEnd},
       .lacks = {"ns.is_only_sys"},
       .markers = kDeepSeekMarkers,
       .roles = kAllRoles,
       .has_thinking_switch = true,
       .style = {.joins_system = true},
       .render = render_deepseek_v3_1},
      {.name = "moonlight",
       .models = "Moonlight",
       .has = {kSystemTurn, "{{message['role']}}"},
       .lacks = {kToolList, kCallSection},
       .markers = kKimiMarkers,
       .end_of_turn = kImEnd,
       .roles = kPlainRoles,
       .has_tool_calls = false,
       .style = {.default_system = helpful},
       .render = render_moonlight},
      {.name = "kimi-k2-0711",
       .models = "Kimi-K2-Instruct as first released",
       .has = {kSystemTurn, kToolList, "'<|im_system|>tool<|im_middle|>'"},
       .lacks = {kCallSection},
       .markers = kKimiMarkers,
       .end_of_turn = kImEnd,
       .roles = kAllRoles,
       .has_tool_calls = false,
       .has_tool_definitions = true,
       .style = {.default_system = helpful},
       .render = render_moonlight},
      {.name = "kimi-k2",
       .models = "Kimi-K2-Instruct, Kimi-K2-Instruct-0905",
       .has = {kSystemTurn, kToolList, kCallSection, kReturnOf},
       .lacks = {"<think>", "#Tools"},
       .markers = kKimiMarkers,
       .end_of_turn = kImEnd,
       .roles = kAllRoles,
       .has_tool_definitions = true,
       .style = {.compact_tools = true, .default_system = kimi},
       .render = render_kimi_k2},
      {.name = "kimi-k2-thinking",
       .models = "Kimi-K2-Thinking",
       .has = {kSystemTurn, kToolList, kCallSection, kReturnOf, "<think></think>", "suffix_msgs"},
       .lacks = {"tool_response_queue"},
       .markers = kKimiMarkers,
       .end_of_turn = kImEnd,
       .roles = kAllRoles,
       .has_tool_definitions = true,
       .style = {.default_system = kimi},
       .render = render_kimi_k2_thinking},
  };
}

bool is_quote(char c) {
  return c == '\'' || c == '"';
}

/// The template without what people format it by: white space, the - signs of tags, the kind of
/// quotes. A line break within a literal, written as \n or as itself, becomes ¶.
std::string simplified(std::string_view jinja) {
  std::string text;
  for (size_t i = 0; i < jinja.size(); ++i) {
    const char c = jinja[i], before = i > 0 ? jinja[i - 1] : '\0',
               after = i + 1 < jinja.size() ? jinja[i + 1] : '\0';
    const bool escaped_break = c == '\\' && after == 'n';
    const bool in_tag = before == '{' || before == '%' || after == '}' || after == '%';
    if (escaped_break || (c == '\n' && is_quote(before))) {
      text += "¶";
      i += escaped_break;
    } else if (std::string_view(" \n\t\r").find(c) == std::string_view::npos &&
               !(c == '-' && in_tag)) {
      text += is_quote(c) ? '\'' : c;
    }
  }
  return text;
}

/// What stands between the marks, the first time; empty when it does not.
std::string_view between(std::string_view text, std::string_view begin, std::string_view end) {
  const size_t from = text.find(begin);
  if (from == std::string_view::npos) return {};
  const size_t to = text.find(end, from + begin.size());
  if (to == std::string_view::npos) return {};
  return text.substr(from + begin.size(), to - from - begin.size());
}

/// The blanks between two tags of one line are printed, but for a - in a tag.
std::string stray_blanks(std::string_view jinja) {
  const size_t set = jinja.find("{% set ns.system_prompt = message['content']");
  if (set == std::string_view::npos || set == 0) return {};
  const size_t tag = jinja.find_last_not_of(' ', set - 1);
  const bool printed = tag != std::string_view::npos && jinja.substr(0, tag + 1).ends_with("%}") &&
                       !jinja.substr(0, tag + 1).ends_with("-%}");
  return std::string(printed ? set - tag - 1 : 0, ' ');
}

ChatStyle read_style(const std::string& text, std::string_view jinja) {
  const auto has = [&](std::string_view piece) { return text.find(piece) != std::string::npos; };
  return {.joins_system = has("ns.is_first_sp") || has(kFathomSystem),
          .strips_reasoning = has(kThinkEnd),
          .opens_thinking = has(kThinkPrompt),
          .calls_beside_content = has("'tool_calls'inmessage"),
          .outputs_on_lines = has("'¶<｜tool▁output▁begin｜>'"),
          .compact_tools = has("tojson(separators=(',',':'))"),
          .stray_blanks = stray_blanks(jinja),
          .default_system = std::string(between(jinja, kSystemTurn, kImEnd))};
}

bool fits(const ChatFormat& format, const std::string& text) {
  const auto in_text = [&](std::string_view piece) {
    return text.find(piece) != std::string::npos;
  };
  return std::all_of(format.has.begin(), format.has.end(), in_text) &&
         std::none_of(format.lacks.begin(), format.lacks.end(), in_text);
}

/// The first marker, <｜..｜> or <|..|>, that the format does not know; empty: none.
std::string_view unknown_marker(const ChatFormat& format, std::string_view jinja) {
  for (const auto& [begin, end] : {std::pair<std::string_view, std::string_view>{"<｜", "｜>"},
                                   std::pair<std::string_view, std::string_view>{"<|", "|>"}}) {
    for (size_t at = 0; (at = jinja.find(begin, at)) != std::string_view::npos;) {
      const size_t stop = jinja.find(end, at + begin.size());
      if (stop == std::string_view::npos) break;
      const std::string_view marker = jinja.substr(at, stop + end.size() - at);
      if (format.markers.find(marker) == std::string_view::npos) return marker;
      at = stop + end.size();
    }
  }
  return {};
}

std::string choose_hint() {
  return fmt::format("if it is one of {}, say so with --chat-template NAME", chat_format_names());
}

}  // namespace

void ChatPrompt::text(std::string_view plain) {
  if (plain.empty()) return;
  if (!parts_.empty() && !parts_.back().is_marker) {
    parts_.back().text += plain;
  } else {
    parts_.push_back({std::string(plain), false});
  }
}

std::string ChatPrompt::str() const {
  std::string all;
  for (const Part& part : parts_) all += part.text;
  return all;
}

std::span<const ChatFormat> chat_formats() {
  static const std::vector<ChatFormat> formats = make_formats();
  return formats;
}

std::string chat_format_names() {
  std::vector<std::string_view> names;
  for (const ChatFormat& format : chat_formats()) names.push_back(format.name);
  return fmt::format("{}", fmt::join(names, ", "));
}

const ChatFormat& chat_format_named(std::string_view name) {
  for (const ChatFormat& format : chat_formats()) {
    if (format.name == name) return format;
  }
  throw Error(fmt::format("there is no chat template \"{}\"", name),
              fmt::format("known are {}", chat_format_names()));
}

std::pair<const ChatFormat*, ChatStyle> detect_chat_format(std::string_view jinja,
                                                           const std::string& source) {
  const std::string text = simplified(jinja);
  for (const ChatFormat& format : chat_formats()) {
    if (!fits(format, text)) continue;
    if (const std::string_view marker = unknown_marker(format, jinja); !marker.empty()) {
      throw Error(fmt::format("{}: chat_template resembles {}'s, but has the marker {:.80}", source,
                              format.name, marker),
                  choose_hint());
    }
    return {&format, read_style(text, jinja)};
  }
  throw Error(fmt::format("{}: chat_template is of no kind that Fathom knows", source),
              choose_hint());
}

}  // namespace fathom
