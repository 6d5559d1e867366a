#include "kernels/checks.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace fathom::kernels {
namespace {

[[noreturn]] void fail(const std::string& message) {
  std::fprintf(stderr, "fathom: internal error: %s\n", message.c_str());
  std::abort();
}

}  // namespace

void check_same_device(const char* kernel, const Context& ctx,
                       std::initializer_list<ConstTensorView> views) {
  for (const ConstTensorView& v : views)
    if (v && v.device != ctx.device)
      fail(fmt::format("{}: {} is not on the device of the context", kernel, describe(v)));
}

void check_dtype(const char* kernel, const char* argument, const ConstTensorView& view,
                 std::initializer_list<DType> allowed) {
  if (std::find(allowed.begin(), allowed.end(), view.dtype) == allowed.end())
    fail(fmt::format("{}: {} is {}", kernel, argument, describe(view)));
}

void check_shape(const char* kernel, const char* argument, const ConstTensorView& view,
                 std::initializer_list<int64_t> shape) {
  const bool same = view.rank == static_cast<int>(shape.size()) &&
                    std::equal(shape.begin(), shape.end(), view.shape.begin());
  if (same) return;
  std::string wanted;
  for (int64_t n : shape) wanted += fmt::format("{}{}", wanted.empty() ? "" : ", ", n);
  fail(fmt::format("{}: {} is {}, not [{}]", kernel, argument, describe(view), wanted));
}

}  // namespace fathom::kernels
