#pragma once

#include "kernels/quantize.h"
#include "kernels/ref/quantize.h"
#include "ops_test.h"

namespace fathom {

/// Codes and scales with padded rows.
struct QuantizedStorage {
  QuantizedStorage(int64_t rows, int64_t cols, kernels::ScaleTile tile)
      : codes(DType::kE4M3, {rows, cols + 9}),
        scale(DType::kF32, {kernels::scale_rows(rows, tile), kernels::scale_cols(cols, tile) + 3}),
        view(codes.view().col_range(5, cols),
             scale.view().col_range(1, kernels::scale_cols(cols, tile)), tile) {}
  Tensor codes, scale;
  kernels::QuantizedView view;
};

inline kernels::ref::Quantized contents(const kernels::ConstQuantizedView& q) {
  kernels::ref::Quantized out;
  for (int64_t r = 0; r < q.rows(); ++r) {
    const auto* row = static_cast<const uint8_t*>(q.codes.data) + r * q.codes.stride[0];
    out.codes.insert(out.codes.end(), row, row + q.cols());
  }
  for (int64_t r = 0; r < q.scale.rows(); ++r) {
    const float* row = q.scale.as<float>() + r * q.scale.stride[0];
    out.scale.insert(out.scale.end(), row, row + q.scale.cols());
  }
  return out;
}

inline bool both_nan(uint8_t a, uint8_t b) {
  return (a & b & 0x7f) == 0x7f;
}

inline void expect_equal(const kernels::ref::Quantized& actual,
                         const kernels::ref::Quantized& expected) {
  ASSERT_EQ(actual.scale.size(), expected.scale.size());
  for (size_t i = 0; i < actual.scale.size(); ++i)
    ASSERT_TRUE(actual.scale[i] == expected.scale[i] ||
                (std::isnan(actual.scale[i]) && std::isnan(expected.scale[i])))
        << "scale " << i << ": " << actual.scale[i] << ", expected " << expected.scale[i];
  ASSERT_EQ(actual.codes.size(), expected.codes.size());
  for (size_t i = 0; i < actual.codes.size(); ++i)
    ASSERT_TRUE(actual.codes[i] == expected.codes[i] ||
                both_nan(actual.codes[i], expected.codes[i]))
        << "code " << i << ": " << int{actual.codes[i]} << ", expected " << int{expected.codes[i]};
}

}  // namespace fathom
