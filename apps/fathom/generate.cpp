#include "infer/generate.h"

#include <fmt/format.h>

#include <cstdio>

#include "base/error.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "generation.h"
#include "model_argument.h"
#include "report.h"
#include "text/stream_decoder.h"

namespace fathom::app {
namespace {

// The prompt's ids: given, or the text's with the begin-of-sequence token before it.
std::vector<int32_t> prompt_ids(const GenerateArguments& options, const Tokenizer& tokenizer) {
  if (!options.ids.empty()) return options.ids;
  const std::string text = options.prompt ? *options.prompt : read_input_file(options.prompt_file);
  return tokenizer.encode(text, {true, true});
}

std::vector<Report> logprob_reports(const std::vector<Logprobs>& logprobs) {
  std::vector<Report> list;
  for (const Logprobs& l : logprobs) {
    Report r;
    r.add("logprob", static_cast<double>(l.chosen));
    std::vector<Report> top;
    for (const TokenLogprob& t : l.top) {
      Report one;
      one.add("id", static_cast<int64_t>(t.id));
      one.add("logprob", static_cast<double>(t.logprob));
      top.push_back(std::move(one));
    }
    r.add("top", top);
    list.push_back(std::move(r));
  }
  return list;
}

Report make_report(const GenerateResult& r, const Report& memory, bool json) {
  Report report;
  if (json) {
    report.add("text", r.text);
    report.add("ids", r.ids);
  }
  report.add("prompt_tokens", r.prompt_tokens);
  report.add("new_tokens", static_cast<int64_t>(r.ids.size()));
  report.add("finish_reason", name_of(r.finish_reason));
  report.add("prefill_tokens_per_s", r.prefill_tokens_per_s());
  report.add("decode_tokens_per_s", r.decode_tokens_per_s());
  if (json || r.mtp.drafted > 0) add_speculation(report, r.mtp);
  report.add("memory", memory);
  if (!r.logprobs.empty()) report.add("logprobs", logprob_reports(r.logprobs));
  return report;
}

// The text alone stands on standard output, so that it can go to a file or another program.
void finish_text(const Report& report) {
  if (std::fflush(stdout) != 0) throw_errno("cannot write to standard output");
  fmt::print(stderr, "\n");
  report.print_aside();
}

}  // namespace

int run_generate(const GlobalOptions& global, const GenerateArguments& options) {
  std::vector<int32_t> prompt;
  Generation generation(global, options.model, options.sampling, [&](const Tokenizer& tokenizer) {
    prompt = prompt_ids(options, tokenizer);
    return static_cast<int64_t>(prompt.size()) + options.max_new_tokens;
  });
  GenerateOptions request = generation.options();
  request.max_new_tokens = options.max_new_tokens;
  request.ignore_eos = options.ignore_eos;
  request.stop = options.stop;
  if (options.logprobs >= 0) request.top_logprobs = options.logprobs;
  Utf8Stream utf8;
  const auto show = [&](const std::string& text) {
    if (!global.json) std::fwrite(text.data(), 1, text.size(), stdout);
  };
  const InterruptGuard interrupt;
  const auto stop = [&] { return interrupt.requested(); };
  const auto on_token = [&](const GeneratedToken& token) {
    show(utf8.add(token.text));
    std::fflush(stdout);
    return !stop();
  };
  const GenerateResult result =
      fathom::generate(generation.engine(), prompt, request, on_token, stop);
  show(utf8.finish() + "\n");
  const Report report = make_report(result, generation.memory(), global.json);
  if (global.json)
    report.print(true);
  else
    finish_text(report);
  const bool interrupted = result.finish_reason == FinishReason::kInterrupted;
  return interrupted ? Interrupted{interrupt.signal_number()}.exit_status() : 0;
}

}  // namespace fathom::app
