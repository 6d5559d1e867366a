#include "plan.h"

#include "base/error.h"
#include "cluster/flops.h"
#include "cluster/kv_cache.h"
#include "cluster/picture.h"

namespace fathom::app {

int run_plan_kv_cache(const GlobalOptions& global, const PlanKvCacheArguments& options) {
  const PlanInput input(options.plan);
  cluster::Worksheet sheet;
  if (input.models().size() > 1) {
    if (input.has_gpu())
      throw UsageError("--hardware has no influence on a comparison of models",
                       "give one --model to see what fits");
    compare_kv_cache(input.models(), options.kv_bits, sheet);
  } else {
    plan_kv_cache(input.model(), options.kv_bits, input.has_gpu() ? &input.gpu() : nullptr,
                  {options.gpus, options.context, options.weight_bits, options.reserve}, sheet);
  }
  input.check_used();
  draw(options.plan.svg, draw_kv_cache(input.models(), options.kv_bits));
  print(sheet, global, options.plan.explain);
  return 0;
}

int run_plan_flops(const GlobalOptions& global, const PlanFlopsArguments& options) {
  const PlanInput input(options.plan);
  cluster::Worksheet sheet;
  if (input.models().size() > 1)
    compare_flops(input.models(), options.seq_len, sheet);
  else
    plan_flops(input.model(), options.seq_len, sheet);
  input.check_used();
  draw(options.plan.svg, draw_flops(input.models(), static_cast<double>(options.seq_len)));
  print(sheet, global, options.plan.explain);
  return 0;
}

}  // namespace fathom::app
