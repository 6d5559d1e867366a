// The decoders of stored weights of one instruction set. Compiled once for each.
#include "kernels/cpu/gemm_decode.h"

#include <algorithm>

#include "kernels/cpu/gemm_decode_rows.h"

namespace fathom::kernels::cpu::FATHOM_ISA_NS {
namespace {

constexpr int64_t kLineBytes = 64;

/// Elements [begin, end) of unit u, of which no more than end may exist.
template <class Row, class T>
void decode_part(const GemmOperand& x, Row& row, const std::byte* unit, int64_t u, int64_t begin,
                 int64_t end, T* to) {
  std::byte stored[Row::kUnitBytes] = {};
  std::memcpy(stored, unit, static_cast<size_t>(x.bytes(end)));
  T whole[Row::kUnit];
  row.decode(stored, u, whole);
  std::memcpy(to, whole + begin, static_cast<size_t>(end - begin) * sizeof(T));
}

template <class Row, class T>
void decode(const GemmOperand& x, int64_t r, GemmRange cols, int64_t ahead, T* to) {
  Row row(x, r);
  int64_t at = cols.begin;
  const int64_t end = cols.begin + cols.count;
  const std::byte* from = x.row(r) + at / Row::kUnit * Row::kUnitBytes;
  while (at < end) {
    const int64_t u = at / Row::kUnit, begin = at % Row::kUnit;
    const int64_t count = std::min(Row::kUnit - begin, end - at);
    for (int64_t line = 0; line < Row::kUnitBytes; line += kLineBytes)
      __builtin_prefetch(from + ahead + line);
    if (count == Row::kUnit)
      row.decode(from, u, to);
    else
      decode_part(x, row, from, u, begin, begin + count, to);
    from += Row::kUnitBytes;
    at += count;
    to += count;
  }
}

template <class Row>
constexpr DecodeKernels kernels_of() {
  return {decode<Row, BF16>, decode<Row, float>};
}

}  // namespace

const DecodeKernels kDecode[kStorageFormats] = {
    kernels_of<PlainRow<float>>(),
    kernels_of<PlainRow<BF16>>(),
    kernels_of<PlainRow<F16>>(),
    {nullptr, nullptr},  // E4M3
    kernels_of<IntRow<StorageFormat::kInt4>>(),
    kernels_of<IntRow<StorageFormat::kInt8>>(),
    kernels_of<IntRow<StorageFormat::kUint8>>(),
    kernels_of<BlockRow<StorageFormat::kQ8_0>>(),
    kernels_of<BlockRow<StorageFormat::kQ4_0>>(),
    kernels_of<BlockRow<StorageFormat::kQ4_K>>(),
    kernels_of<BlockRow<StorageFormat::kQ5_K>>(),
    kernels_of<BlockRow<StorageFormat::kQ6_K>>(),
};

}  // namespace fathom::kernels::cpu::FATHOM_ISA_NS
