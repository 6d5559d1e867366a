#include "prepare_weights.h"

#include <fmt/format.h>

#include "base/log.h"
#include "base/numa.h"
#include "checkpoint/residency.h"
#include "model/flops.h"
#include "model/parameter_count.h"

namespace fathom::app {

void warn_if_too_large(const StoredModel& stored) {
  const auto memory = static_cast<double>(available_memory());
  const auto weights = static_cast<double>(stored.bytes);
  if (weights <= memory) return;
  const ParameterCount n = count_parameters(stored.config);
  const double touched =
      decode_bytes_per_token(stored.config, weights / static_cast<double>(n.total + n.mtp), 2, 0);
  const double disk = measure_disk_read(stored);
  const double rate = tokens_per_second_from_disk(touched, weights, memory, disk);
  log_warning(
      "the weights exceed the free memory: what does not fit is read from disk for each "
      "token",
      {{"weights_gib", fmt::format("{:.1f}", weights / (1 << 30))},
       {"memory_gib", fmt::format("{:.1f}", memory / (1 << 30))},
       {"disk_gb_s", fmt::format("{:.2f}", disk / 1e9)},
       {"expected_tokens_per_s", fmt::format("{:.2f}", rate)}});
}

void prepare_weights(const StoredModel& stored, bool preload) {
  for (const MappedFile* file : stored.files()) file->want_huge_pages();
  warn_if_too_large(stored);
  if (preload) fathom::preload(stored);
}

}  // namespace fathom::app
