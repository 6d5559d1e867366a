#include "checkpoint/packed_int.h"

namespace fathom {
namespace {

int64_t words(int64_t codes, int64_t bits) {
  return (codes * bits + 31) / 32;
}

}  // namespace

std::vector<TensorSpec> PackedIntLayout::tensors(const std::string& name, DType scale_dtype) const {
  std::vector<TensorSpec> specs = {{name + "_packed", DType::kI32, {rows, words(cols, bits)}},
                                   {name + "_scale", scale_dtype, {rows, groups()}}};
  if (!symmetric)
    specs.push_back({name + "_zero_point", DType::kI32, {words(rows, bits), groups()}});
  specs.push_back({name + "_shape", DType::kI64, {2}});
  return specs;
}

kernels::GroupedIntOutput PackedIntLayout::over(const TensorView& packed, const TensorView& scale,
                                                const TensorView& zero) const {
  kernels::GroupedIntOutput matrix;
  matrix.format = bits == 4 ? StorageFormat::kInt4 : StorageFormat::kUint8;
  matrix.codes = packed;
  if (bits == 8)  // the bytes of the words are the codes
    matrix.codes =
        TensorView(packed.data, DType::kU8, {rows, 4 * packed.cols()}).col_range(0, cols);
  matrix.scale = scale;
  matrix.zero = zero;
  matrix.group = group;
  return matrix;
}

}  // namespace fathom
