#include "text/tokenizer.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstdio>
#include <filesystem>

#include "base/file.h"
#include "model_argument.h"
#include "options.h"
#include "report.h"
#include "session.h"
#include "text/bpe_trainer.h"
#include "text/chat_json.h"
#include "text/chat_template.h"

namespace fathom::app {
namespace fs = std::filesystem;

int run_tokenizer_train(const GlobalOptions& global, const TokenizerTrainArguments& options) {
  const std::vector<fs::path> files(options.input.begin(), options.input.end());
  ThreadPool pool(global.threads);
  const TrainedBpe bpe = train_bpe_files(files, static_cast<int32_t>(options.vocab_size), pool);
  save_tokenizer(bpe, options.out);

  const Tokenizer tokenizer = Tokenizer::load(options.out);
  uint64_t bytes = 0, tokens = 0;
  for (const fs::path& file : files) {
    const MappedFile text(file);
    bytes += text.size();
    tokens += tokenizer.encode_parallel(text.text(), {}, pool).size();
  }
  Report report;
  report.add("out", options.out);
  report.add("vocab_size", static_cast<int64_t>(tokenizer.vocab_size()));
  report.add("bytes_per_token", static_cast<double>(bytes) / static_cast<double>(tokens));
  report.print(global.json);
  return 0;
}

int run_tokenizer_encode(const GlobalOptions& global, const TokenizerEncodeArguments& options) {
  const Tokenizer tokenizer = load_tokenizer(options.model);
  const std::string text = options.text ? *options.text : read_input_file(options.input);
  ThreadPool pool(global.threads);
  const bool special = !options.no_special;
  const std::vector<int32_t> ids = tokenizer.encode_parallel(text, {special, special}, pool);
  if (!global.json) {
    fmt::print("{}\n", fmt::join(ids, " "));
    return 0;
  }
  Report report;
  report.add("tokens", static_cast<int64_t>(ids.size()));
  report.add("ids", ids);
  report.print(true);
  return 0;
}

int run_tokenizer_decode(const GlobalOptions& global, const TokenizerDecodeArguments& options) {
  const std::string text = load_tokenizer(options.model).decode(options.ids, options.skip_special);
  if (!global.json) {
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fputc('\n', stdout);
    return 0;
  }
  Report report;
  report.add("text", text);
  report.print(true);
  return 0;
}

int run_tokenizer_render(const GlobalOptions& global, const TokenizerRenderArguments& arguments) {
  const Tokenizer tokenizer = load_tokenizer(arguments.model);
  const ChatTemplate chat(tokenizer, arguments.chat_template);
  std::vector<Report> conversations;
  for (const std::string& file : arguments.messages) {
    const ChatJson conversation = parse_chat_json(read_input_file(file), file);
    const ChatOptions options = {.add_generation_prompt = !arguments.no_generation_prompt,
                                 .thinking = arguments.thinking,
                                 .tools = conversation.tools};
    const std::string text = chat.render(conversation.messages, options);
    if (!global.json) fmt::print("{}\n", text);
    Report& rendered = conversations.emplace_back();
    rendered.add("text", text);
    rendered.add("ids", chat.encode(conversation.messages, options));
  }
  if (!global.json) return 0;
  Report report;
  report.add("format", chat.format().name);
  report.add("conversations", conversations);
  report.print(true);
  return 0;
}

}  // namespace fathom::app
