// The table entries of one instruction set. Compiled once for each.
#include "kernels/cpu/gemm_kernels.h"

#include "kernels/cpu/gemm_micro.h"
#include "kernels/cpu/gemm_pack.h"
#include "kernels/cpu/gemm_stream.h"
#include "kernels/cpu/gemm_unit.h"
#if defined(__AMX_BF16__) || defined(FATHOM_AMX_EMULATED)
#include "kernels/cpu/gemm_amx.h"
#define FATHOM_GEMM_AMX 1
#endif

#define FATHOM_STRING2(x) #x
#define FATHOM_STRING(x) FATHOM_STRING2(x)

namespace fathom::kernels::cpu::FATHOM_ISA_NS {
namespace {

#define FATHOM_ISA_STRING FATHOM_STRING(FATHOM_ISA_NS)

void round_to_bf16(const float* from, BF16* to, int64_t count) {
  for_vectors(count, [&](int64_t i, auto part) { store(to + i, load(from + i, part), part); });
}

template <class Unit>
constexpr GemmKernels vector_kernels(const char* name, const StreamKernels* stream) {
  using Word = typename Unit::Word;
  return {.name = name,
          .mr = kMicroRows,
          .nr = kLanes,
          .kr = kLanes * Word::kElements,
          .tile_n = kTileVectors * kLanes,
          .pack_a = pack_a<Word, kMicroRows>,
          .pack_b = pack_b<Word>,
          .multiply = multiply<typename Unit::Arithmetic>,
          .stream = stream,
          .to_bf16 = round_to_bf16,
          .burst = burst<typename Unit::Arithmetic>};
}

#if defined(FATHOM_GEMM_AMX)
constexpr GemmKernels amx_kernels() {
  return {.name = FATHOM_ISA_STRING " tiles",
          .mr = kAmxRows,
          .nr = kAmxTileCols,
          .kr = kAmxSegment,
          .tile_n = kAmxCols,
          .pack_a = pack_a<WordPair, kAmxRows>,
          .pack_b = pack_b<WordPair>,
          .multiply = amx_multiply,
          .stream = &kStreamBF16,
          .to_bf16 = round_to_bf16,
          .burst = amx_burst};
}
#endif

}  // namespace

const GemmKernels kGemmF32 = vector_kernels<UnitF32>(FATHOM_ISA_STRING " F32", &kStreamF32);

#if defined(FATHOM_GEMM_AMX)
const GemmKernels kGemmBF16 = amx_kernels();
#elif defined(__AVX512BF16__)
const GemmKernels kGemmBF16 = vector_kernels<UnitBF16>(FATHOM_ISA_STRING " dpbf16", &kStreamBF16);
#else
const GemmKernels kGemmBF16 =
    vector_kernels<UnitRounded>(FATHOM_ISA_STRING " rounded", &kStreamBF16);
#endif

}  // namespace fathom::kernels::cpu::FATHOM_ISA_NS
