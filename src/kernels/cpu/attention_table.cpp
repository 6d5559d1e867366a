#include "kernels/cpu/attention_isa.h"

namespace fathom::kernels::FATHOM_ISA_NS {

const cpu::AttentionKernels attention_kernels = {
    attention_forward_scratch, attention_forward,        attention_backward_scratch,
    attention_backward,        attention_decode_scratch, attention_decode,
};

}  // namespace fathom::kernels::FATHOM_ISA_NS
