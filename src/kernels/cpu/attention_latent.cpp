#include "kernels/cpu/attention_latent.h"

#include <algorithm>

#include "kernels/cpu/attention_latent_rows.h"
#include "kernels/cpu/attention_latent_softmax.h"
#include "kernels/cpu/attention_latent_unit.h"
#if defined(__AMX_BF16__) || defined(FATHOM_AMX_EMULATED)
#include "kernels/cpu/attention_latent_amx.h"
#define FATHOM_LATENT_AMX 1
#endif
#include "kernels/cpu/attention_latent_vector.h"

#define FATHOM_STRING2(x) #x
#define FATHOM_STRING(x) FATHOM_STRING2(x)

namespace fathom::kernels::cpu::FATHOM_ISA_NS {
namespace {

#define FATHOM_ISA_STRING FATHOM_STRING(FATHOM_ISA_NS)

constexpr int64_t padded(int64_t n, int64_t step) {
  return (n + step - 1) / step * step;
}

/// kLanes words along k, from F32.
template <class Unit>
VecU query_words(const float* q) {
  if constexpr (Unit::kElements == 1) {
    return bit_cast_vec<VecU>(Unit::round(load(q, Full{})));
  } else {
    VecU words;
    const VecH half[2] = {narrow(load(q, Full{})), narrow(load(q + kLanes, Full{}))};
    __builtin_memcpy(&words, half, sizeof words);
    return words;
  }
}

/// A panel's queries as [word of k][kLanes pairs], kLanes words at a time: body(words).
template <class Unit, class Body>
void for_query_squares(const float* q, int64_t stride, int64_t pairs, int64_t width, Body body) {
  for (int64_t p = 0; p < pairs; p += kLanes)
    for (int64_t k = 0; k < width; k += kLanes * Unit::kElements) {
      VecU square[kLanes];
      for (int64_t l = 0; l < kLanes; ++l)
        square[l] = p + l < pairs ? query_words<Unit>(q + (p + l) * stride + k) : VecU{};
      transpose(square);
      body(square);
    }
}

template <int64_t kFirst, size_t... L>
VecU interleave_lanes(VecU a, VecU b, std::index_sequence<L...>) {
  return __builtin_shufflevector(
      a, b, static_cast<int>(kFirst + int64_t{L} / 2 + (L % 2 ? kLanes : 0))...);
}

/// Panels as score_tile wants them: [pair of words][half of the pairs][pair][word].
template <class Unit>
void pack_queries(const float* q, int64_t stride, int64_t pairs, int64_t width, std::byte* to) {
  for_query_squares<Unit>(q, stride, pairs, width, [&](const VecU(&square)[kLanes]) {
    constexpr auto kAll = std::make_index_sequence<kLanes>();
    for (int64_t w = 0; w < kLanes; w += 2) {
      const VecU half[2] = {interleave_lanes<0>(square[w], square[w + 1], kAll),
                            interleave_lanes<kLanes / 2>(square[w], square[w + 1], kAll)};
      __builtin_memcpy(to, half, sizeof half);
      to += sizeof half;
    }
  });
}

/// A quarter of a megabyte of V3's rows.
template <class Unit>
constexpr int64_t chunk_keys() {
  return 128 * Unit::kElements;
}

template <class Unit>
size_t vector_space_bytes(int64_t pairs, int64_t) {
  const int64_t floats = chunk_keys<Unit>() * padded(pairs, kLanes);
  return static_cast<size_t>(2 * floats * 4);
}

template <class Unit>
LatentSpace space_of(const LatentTile& t) {
  const int64_t stride = padded(t.pairs, kLanes);
  auto* scores = reinterpret_cast<float*>(t.space);
  return {stride, scores, t.space + chunk_keys<Unit>() * stride * 4};
}

/// body(first pair, pairs, keys) for each stretch of pairs that see the same keys. Products with
/// weight zero are left out rather than multiplied, so that a NaN harms only who sees it.
template <class Body>
void for_equal_views(const LatentTile& t, Body body) {
  for (int64_t p = 0, next; p < t.pairs; p = next) {
    for (next = p + 1; next < t.pairs && t.visible[next] == t.visible[p];) ++next;
    if (t.visible[p] > 0) body(p, next - p, t.visible[p]);
  }
}

template <class Unit>
void attend(const LatentTile& t) {
  const LatentSpace space = space_of<Unit>(t);
  t.fetch->spread(fetch_steps<Unit>(t));
  score_panels<Unit>(t, space);
  for (int64_t p = 0; p < t.pairs; p += kLanes) softmax_panel<Unit>(t, space, p);
  for_equal_views(t, [&](int64_t pair, int64_t pairs, int64_t keys) {
    value_block<Unit>(t, space, pair, pairs, keys);
  });
}

#if defined(FATHOM_LATENT_AMX)
/// Panels as tiles want them: [word of k][pair].
void amx_pack_queries(const float* q, int64_t stride, int64_t pairs, int64_t width, std::byte* to) {
  for_query_squares<LatentPairs>(q, stride, pairs, width, [&](const VecU(&square)[kLanes]) {
    __builtin_memcpy(to, square, sizeof square);
    to += sizeof square;
  });
}

void amx_attend(const LatentTile& t) {
  const AmxSpace space(t.space, t.pairs, t.latent + t.rope);
  t.fetch->spread(amx_fetch_steps(t));
  tile_configure();
  amx_score_panels(t, space);
  for (int64_t p = 0; p < t.pairs; p += kLanes) {
    softmax_panel<LatentPairs>(t, space.softmax, p);
    amx_weight_rows(space, p, *std::max_element(t.visible + p, t.visible + p + kLanes));
  }
  int64_t interleaved = 0;  // keys; as many as the last stretch saw
  for_equal_views(t, [&](int64_t pair, int64_t pairs, int64_t keys) {
    if (keys != interleaved)
      amx_interleave(t, space, std::min(keys, interleaved) / kAmxSegment * kAmxSegment, keys);
    interleaved = keys;
    amx_value_block(t, space, pair, pairs, keys);
  });
  tile_release();
}

constexpr LatentKernels amx_latent_kernels(const char* name) {
  return {.name = name,
          .dtype = DType::kBF16,
          .lanes = kLanes,
          .latent_step = kAmxLatentStep,
          .rope_step = kAmxSegment,
          .chunk = kAmxChunk,
          .pack_queries = amx_pack_queries,
          .load_rows = load_rows<BF16, kAmxLatentStep, kAmxSegment>,
          .attend = amx_attend,
          .space_bytes = amx_space_bytes};
}
#endif

template <class Unit>
constexpr LatentKernels vector_kernels(const char* name) {
  using T = typename Unit::Element;
  constexpr int64_t kRopeStep = kLanes * Unit::kElements;
  return {.name = name,
          .dtype = DTypeOf<T>::value,
          .lanes = kLanes,
          .latent_step = kLatentCols,
          .rope_step = kRopeStep,
          .chunk = chunk_keys<Unit>(),
          .pack_queries = pack_queries<Unit>,
          .load_rows = load_rows<T, kLatentCols, kRopeStep>,
          .attend = attend<Unit>,
          .space_bytes = vector_space_bytes<Unit>};
}

}  // namespace

const LatentKernels kLatentF32 = vector_kernels<LatentF32>(FATHOM_ISA_STRING " F32");

#if defined(FATHOM_LATENT_AMX)
const LatentKernels kLatentBF16 = amx_latent_kernels(FATHOM_ISA_STRING " tiles");
#elif defined(__AVX512BF16__)
const LatentKernels kLatentBF16 = vector_kernels<LatentPairs>(FATHOM_ISA_STRING " dpbf16");
#else
const LatentKernels kLatentBF16 = vector_kernels<LatentRounded>(FATHOM_ISA_STRING " rounded");
#endif

const LatentRowWriter kLatentWrite = {quantize_latent};

}  // namespace fathom::kernels::cpu::FATHOM_ISA_NS
