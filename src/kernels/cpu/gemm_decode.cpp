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

using F = StorageFormat;
#if defined(__AVX512VBMI__)
constexpr DecodeKernels kF16 = kernels_of<FastF16Row, PlainRow<F16>>();
constexpr DecodeKernels kInt4 = kernels_of<FastInt4Row, IntRow<F::kInt4>>();
constexpr DecodeKernels kInt8 = kernels_of<FastInt8Row, IntRow<F::kInt8>>();
constexpr DecodeKernels kUint8 = kernels_of<FastUint8Row, IntRow<F::kUint8>>();
constexpr DecodeKernels kQ8_0 = kernels_of<FastQ8Row, BlockRow<F::kQ8_0>>();
constexpr DecodeKernels kQ4_0 = kernels_of<FastQ4Row, BlockRow<F::kQ4_0>>();
constexpr DecodeKernels kQ4_K = kernels_of<FastQ4KRow, BlockRow<F::kQ4_K>>();
constexpr DecodeKernels kQ5_K = kernels_of<FastQ5KRow, BlockRow<F::kQ5_K>>();
constexpr DecodeKernels kQ6_K = kernels_of<FastQ6KRow, BlockRow<F::kQ6_K>>();
#else
constexpr DecodeKernels kF16 = kernels_of<PlainRow<F16>>();
constexpr DecodeKernels kInt4 = kernels_of<IntRow<F::kInt4>>();
constexpr DecodeKernels kInt8 = kernels_of<IntRow<F::kInt8>>();
constexpr DecodeKernels kUint8 = kernels_of<IntRow<F::kUint8>>();
constexpr DecodeKernels kQ8_0 = kernels_of<BlockRow<F::kQ8_0>>();
constexpr DecodeKernels kQ4_0 = kernels_of<BlockRow<F::kQ4_0>>();
constexpr DecodeKernels kQ4_K = kernels_of<BlockRow<F::kQ4_K>>();
constexpr DecodeKernels kQ5_K = kernels_of<BlockRow<F::kQ5_K>>();
constexpr DecodeKernels kQ6_K = kernels_of<BlockRow<F::kQ6_K>>();
#endif

}  // namespace

const DecodeKernels kDecode[kStorageFormats] = {
    kernels_of<PlainRow<float>>(),
    kernels_of<PlainRow<BF16>>(),
    kF16,
    {nullptr, nullptr},  // E4M3
    kInt4,
    kInt8,
    kUint8,
    kQ8_0,
    kQ4_0,
    kQ4_K,
    kQ5_K,
    kQ6_K,
};

}  // namespace fathom::kernels::cpu::FATHOM_ISA_NS
