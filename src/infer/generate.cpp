#include "infer/generate.h"

namespace fathom {

GenerateResult generate(Engine& engine, std::span<const int32_t> prompt,
                        const GenerateOptions& options, const OnToken& on_token,
                        const StopRequested& stop) {
  std::optional<GenerateResult> result;
  const Engine::RequestId id = engine.submit(
      {{prompt.begin(), prompt.end()}, options, on_token, [&result](GenerateResult r) {
         result = std::move(r);
       }});
  try {
    while (!result) {
      const bool worked = engine.step(stop);
      FATHOM_ASSERT(worked);
      if (!result && stop && stop()) engine.cancel(id);
    }
  } catch (...) {
    engine.cancel(id);  // its callbacks refer to what is about to end
    throw;
  }
  if (result->finish_reason == FinishReason::kError) throw Error(result->error, result->error_hint);
  return std::move(*result);
}

}  // namespace fathom
