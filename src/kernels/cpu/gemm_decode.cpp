// The decoders of stored weights of one instruction set. Compiled once for each.
#include "kernels/cpu/gemm_decode.h"

#include <algorithm>

#include "kernels/cpu/gemm_decode_rows.h"
#include "kernels/cpu/gemm_decode_vbmi.h"

namespace fathom::kernels::cpu::FATHOM_ISA_NS {
namespace {

constexpr int64_t kLineBytes = 64, kBatchBytes = 1024;

/// Elements [begin, end) of unit u, of which no more than end may exist.
template <class Row, class T>
void decode_part(const GemmOperand& x, Row& row, const std::byte* unit, int64_t u, int64_t begin,
                 int64_t end, T* to) {
  std::byte stored[Row::kUnitBytes] = {};
  std::memcpy(stored, unit, static_cast<size_t>(x.bytes(end)));
  T whole[Row::kUnit];
  row.decode(stored, u, 1, whole);
  std::memcpy(to, whole + begin, static_cast<size_t>(end - begin) * sizeof(T));
}

/// Whole units, asking for memory further on a few lines at a time.
template <class Row, class T>
inline void decode_units(Row& row, const std::byte* from, int64_t u, int64_t count, int64_t ahead,
                         T* to) {
  constexpr int64_t kBatch = std::max<int64_t>(kBatchBytes / Row::kUnitBytes, 1);
  for (int64_t done = 0; done < count; done += kBatch) {
    const int64_t units = std::min(kBatch, count - done);
    for (int64_t line = 0; line < kBatch * Row::kUnitBytes; line += kLineBytes)
      __builtin_prefetch(from + ahead + line);
    row.decode(from, u + done, units, to);
    from += units * Row::kUnitBytes;
    to += units * Row::kUnit;
  }
}

template <class Row, class T>
void decode(const GemmOperand& x, int64_t r, GemmRange cols, int64_t ahead, T* to) {
  Row row(x, r);
  int64_t u = cols.begin / Row::kUnit;
  const int64_t end = cols.begin + cols.count, last = end / Row::kUnit;
  const std::byte* from = x.row(r) + u * Row::kUnitBytes;
  if (const int64_t begin = cols.begin % Row::kUnit; begin > 0) {
    const int64_t stop = std::min(Row::kUnit, end - u * Row::kUnit);
    decode_part(x, row, from, u, begin, stop, to);
    from += Row::kUnitBytes;
    to += stop - begin;
    ++u;
  }
  if (u < last) {
    decode_units(row, from, u, last - u, ahead, to);
    from += (last - u) * Row::kUnitBytes;
    to += (last - u) * Row::kUnit;
    u = last;
  }
  if (const int64_t left = end - u * Row::kUnit; left > 0)
    decode_part(x, row, from, u, 0, left, to);
}

template <class ToBF16, class ToF32 = ToBF16>
constexpr DecodeKernels kernels_of() {
  return {decode<ToBF16, BF16>, decode<ToF32, float>};
}

/// Of a format that is_decoded, whose portable row is Row.
template <StorageFormat kFormat, class Row>
constexpr DecodeKernels fast_or() {
#if defined(__AVX512VBMI__)
  return kernels_of<FastRow<kFormat>, Row>();
#else
  return kernels_of<Row>();
#endif
}
template <StorageFormat kFormat>
constexpr DecodeKernels ints() {
  return fast_or<kFormat, IntRow<kFormat>>();
}
template <StorageFormat kFormat>
constexpr DecodeKernels blocks() {
  return fast_or<kFormat, BlockRow<kFormat>>();
}

}  // namespace

const DecodeKernels kDecode[kStorageFormats] = {
    kernels_of<PlainRow<float>>(),
    kernels_of<PlainRow<BF16>>(),
    fast_or<StorageFormat::kF16, PlainRow<F16>>(),
    {nullptr, nullptr},  // E4M3
    ints<StorageFormat::kInt4>(),
    ints<StorageFormat::kInt8>(),
    ints<StorageFormat::kUint8>(),
    blocks<StorageFormat::kQ8_0>(),
    blocks<StorageFormat::kQ4_0>(),
    blocks<StorageFormat::kQ4_K>(),
    blocks<StorageFormat::kQ5_K>(),
    blocks<StorageFormat::kQ6_K>(),
};

}  // namespace fathom::kernels::cpu::FATHOM_ISA_NS
