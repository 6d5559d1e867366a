#pragma once

#include "kernels/cpu/attention.h"

namespace fathom::kernels::FATHOM_ISA_NS {

size_t attention_forward_scratch(const cpu::AttentionTensors& in, int64_t queries);
void attention_forward(const cpu::ForwardArgs& args, const cpu::AttentionItem& item,
                       std::byte* scratch);
size_t attention_backward_scratch(const cpu::AttentionTensors& in, int64_t tokens);
void attention_backward(const cpu::BackwardArgs& args, const cpu::AttentionItem& item,
                        std::byte* scratch);
size_t attention_decode_scratch(const cpu::DecodeArgs& args);
void attention_decode(const cpu::DecodeArgs& args, const cpu::DecodeItem& item,
                      const cpu::DecodePartial& part, std::byte* scratch);

extern const cpu::AttentionKernels attention_kernels;

}  // namespace fathom::kernels::FATHOM_ISA_NS
