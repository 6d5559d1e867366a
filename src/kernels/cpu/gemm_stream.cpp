// The streaming kernels of one instruction set. Compiled once for each.
#include "kernels/cpu/gemm_stream.h"

#include "kernels/cpu/gemm_stream_nn.h"
#include "kernels/cpu/gemm_stream_nt.h"

#if defined(__AMX_BF16__) || defined(FATHOM_AMX_EMULATED)
#include "kernels/cpu/gemm_stream_amx.h"
#define FATHOM_STREAM_AMX 1
#endif

namespace fathom::kernels::cpu::FATHOM_ISA_NS {
namespace {

// Wide enough for streams of B to be long, narrow enough for the sums of 16 rows to stay in L1.
constexpr int64_t kMaxColsNT = kScaleSide, kMaxColsNN = 512;

template <class Unit>
constexpr StreamKernel vector_nt() {
  return {kMaxColsNT, packed_bytes_nt<Unit>, pack_nt<Unit>, stream_nt<Unit>};
}
template <class Unit>
constexpr StreamKernel vector_nn() {
  using Word = typename Unit::Word;
  return {kMaxColsNN, packed_word_bytes<Word>, pack_words<Word>, stream_nn<Unit>};
}

}  // namespace

const StreamKernels kStreamF32 = {vector_nt<UnitF32>(), vector_nn<UnitF32>()};
#if defined(FATHOM_STREAM_AMX)
const StreamKernels kStreamBF16 = {{kMaxColsNT, tiled_bytes, pack_tiles, stream_tiles},
                                   vector_nn<UnitRounded>()};
#elif defined(__AVX512BF16__)
const StreamKernels kStreamBF16 = {vector_nt<UnitBF16>(), vector_nn<UnitBF16>()};
#else
const StreamKernels kStreamBF16 = {vector_nt<UnitRounded>(), vector_nn<UnitRounded>()};
#endif

}  // namespace fathom::kernels::cpu::FATHOM_ISA_NS
