#include "kernels/cpu/attention.h"

namespace fathom::kernels {

namespace scalar {
extern const cpu::AttentionKernels attention_kernels;
}
#if defined(__x86_64__)
namespace avx2 {
extern const cpu::AttentionKernels attention_kernels;
}
namespace avx512 {
extern const cpu::AttentionKernels attention_kernels;
}
namespace avx512_bf16 {
extern const cpu::AttentionKernels attention_kernels;
}
namespace amx {
extern const cpu::AttentionKernels attention_kernels;
}
#endif

namespace cpu {

const AttentionKernels& attention_kernels([[maybe_unused]] Isa isa) {
#if defined(__x86_64__)
  switch (isa) {
    case Isa::kAmx:
      return amx::attention_kernels;
    case Isa::kAvx512Bf16:
      return avx512_bf16::attention_kernels;
    case Isa::kAvx512:
      return avx512::attention_kernels;
    case Isa::kAvx2:
      return avx2::attention_kernels;
    case Isa::kScalar:
      break;
  }
#endif
  return scalar::attention_kernels;
}

}  // namespace cpu
}  // namespace fathom::kernels
