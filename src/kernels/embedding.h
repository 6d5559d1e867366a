#pragma once

#include <cstdint>
#include <span>

#include "base/context.h"
#include "kernels/quantized.h"

namespace fathom::kernels {

/// out_TD[t] = w_VD[token[t]]. w in any format of GemmInput: rows are decoded as they are looked
/// up. out F32 or BF16. Tokens must lie in [0, V).
void embedding_forward(Context& ctx, const GemmInput& w_VD, std::span<const int32_t> token_T,
                       TensorView out_TD);

/// dw_VD[token[t]] += dout_TD[t], in token order whatever the threads. dw F32, dout F32 or BF16.
void embedding_backward(Context& ctx, ConstTensorView dout_TD, std::span<const int32_t> token_T,
                        TensorView dw_VD);

}  // namespace fathom::kernels
