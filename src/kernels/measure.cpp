#include "kernels/measure.h"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstring>

#include "base/philox.h"
#include "numerics/bf16.h"
#include "numerics/e4m3.h"

namespace fathom::kernels {
namespace {

constexpr int64_t kPeriod = 65536;

template <class T>
std::vector<std::byte> pattern(uint64_t seed, T (*convert)(float)) {
  const Philox rng(seed);
  std::vector<std::byte> bytes(kPeriod * sizeof(T));
  for (int64_t i = 0; i < kPeriod; ++i) {
    const T value = convert(rng.uniform(static_cast<uint64_t>(i)) - 0.5f);
    std::memcpy(bytes.data() + static_cast<size_t>(i) * sizeof(T), &value, sizeof(T));
  }
  return bytes;
}

std::vector<std::byte> pattern(DType dtype, uint64_t seed) {
  switch (dtype) {
    case DType::kF32:
      return pattern<float>(seed, [](float x) { return x; });
    case DType::kBF16:
      return pattern<BF16>(seed, [](float x) { return to_bf16(x); });
    default:
      FATHOM_ASSERT(dtype == DType::kE4M3);
      return pattern<E4M3>(seed, [](float x) { return to_e4m3(2 * kE4M3Max * x); });
  }
}

}  // namespace

double seconds_of(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double median(std::vector<double> values) {
  FATHOM_ASSERT(!values.empty());
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

Tensor random_tensor(Context& ctx, DType dtype, std::initializer_list<int64_t> shape,
                     uint64_t seed) {
  Tensor t(dtype, shape);
  const std::vector<std::byte> values = pattern(dtype, seed);
  const auto period = static_cast<int64_t>(values.size());
  auto* to = static_cast<std::byte*>(t.view().data);
  ctx.pool.for_range(
      static_cast<int64_t>(t.view().bytes()), period, [&](int64_t begin, int64_t end, int) {
        for (int64_t i = begin; i < end; i += period)
          std::memcpy(to + i, values.data(), static_cast<size_t>(std::min(period, end - i)));
      });
  return t;
}

}  // namespace fathom::kernels
