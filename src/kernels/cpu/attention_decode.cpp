#include "kernels/cpu/attention_isa.h"
#include "kernels/cpu/attention_tile.h"

namespace fathom::kernels::FATHOM_ISA_NS {
namespace {

using cpu::DecodeArgs;
using cpu::DecodeItem;
using cpu::DecodePartial;
using cpu::kDecodeChunk;
using cpu::kDecodeHeads;

struct Buffers {
  Buffers(std::byte* scratch, int64_t width) {
    Carve carve(scratch);
    cache_SX = carve.take<float>(kDecodeChunk * width);
    cache_XS = carve.take<float>(kDecodeChunk * width);
    q_HX = carve.take<float>(kDecodeHeads * width);
    scores_HS = carve.take<float>(kDecodeHeads * kDecodeChunk);
    bytes = carve.used();
  }
  float *cache_SX, *cache_XS, *q_HX, *scores_HS;
  size_t bytes;
};

GemmPrecision precision_of(const DecodeArgs& args) {
  return args.cache_SX.dtype == DType::kBF16 ? GemmPrecision::kBF16 : GemmPrecision::kF32;
}

class Decode {
 public:
  Decode(const DecodeArgs& args, const DecodeItem& item, const DecodePartial& part,
         std::byte* scratch)
      : args_(args),
        item_(item),
        part_(part),
        precision_(precision_of(args)),
        H_(args.q_latent_THC.shape[1]),
        C_(args.q_latent_THC.shape[2]),
        X_(args.cache_SX.cols()),
        b_(scratch, X_) {}

  void run() {
    int64_t end = 0;
    for (int64_t t = item_.t_begin; t < item_.t_end; ++t) end = std::max(end, visible(t));
    load_rows(args_.cache_SX, item_.begin, end, 0, X_, precision_, b_.cache_SX, X_);
    transpose(b_.cache_SX, X_, b_.cache_XS, kDecodeChunk, end, X_);
    for (int64_t t = item_.t_begin; t < item_.t_end; ++t)
      for (int64_t h = item_.h_begin; h < item_.h_end && visible(t) > 0; h += kDecodeHeads)
        heads(t, h, std::min(kDecodeHeads, item_.h_end - h));
  }

 private:
  int64_t visible(int64_t t) const {
    return std::clamp<int64_t>(args_.position_T[t] + 1 - item_.begin, 0, kDecodeChunk);
  }

  void heads(int64_t t, int64_t h, int64_t count) {
    const int64_t keys = visible(t), row = (t - item_.t_begin) * H_ + h;
    load_query(args_.q_latent_THC, t, h, count, b_.q_HX);
    load_query(args_.q_rope_THR, t, h, count, b_.q_HX + C_);
    product(b_.q_HX, X_, b_.cache_XS, kDecodeChunk, b_.scores_HS, kDecodeChunk, count, keys, X_,
            false);
    for (int64_t i = 0; i < count; ++i) softmax(b_.scores_HS + i * kDecodeChunk, keys, row + i);
    product(b_.scores_HS, kDecodeChunk, b_.cache_SX, X_, part_.acc_THC + row * C_, C_, count, C_,
            keys, false);
  }

  void load_query(const ConstTensorView& q, int64_t t, int64_t h, int64_t count, float* to) {
    for (int64_t i = 0; i < count; ++i)
      for (int64_t c = 0; c < q.shape[2]; ++c)
        to[i * X_ + c] = rounded(load(q, t * q.stride[0] + (h + i) * q.stride[1] + c), precision_);
  }

  void softmax(float* score, int64_t keys, int64_t row) {
    float top = -std::numeric_limits<float>::infinity(), sum = 0;
    for (int64_t j = 0; j < keys; ++j) top = std::max(top, score[j] *= args_.scale);
    for (int64_t j = 0; j < keys; ++j) {
      const float p = std::exp(score[j] - top);
      sum += p;
      score[j] = rounded(p, precision_);
    }
    part_.highest[row] = top;
    part_.sum[row] = sum;
  }

  const DecodeArgs& args_;
  const DecodeItem& item_;
  const DecodePartial& part_;
  GemmPrecision precision_;
  int64_t H_, C_, X_;
  Buffers b_;
};

}  // namespace

size_t attention_decode_scratch(const DecodeArgs& args) {
  return Buffers(nullptr, args.cache_SX.cols()).bytes;
}

void attention_decode(const DecodeArgs& args, const DecodeItem& item, const DecodePartial& part,
                      std::byte* scratch) {
  Decode(args, item, part, scratch).run();
}

}  // namespace fathom::kernels::FATHOM_ISA_NS
