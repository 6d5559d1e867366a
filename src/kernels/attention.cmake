# Attention: products of packed tiles with row operations between them; decode over the latent cache
# with products of its own.
target_sources(fathom_kernels PRIVATE
  attention.cpp attention_decode.cpp latent_cache.cpp cpu/attention_forward.cpp
  cpu/attention_backward.cpp cpu/attention_decode.cpp cpu/attention_table.cpp)
fathom_isa_sources(ISAS scalar avx2 avx512 SOURCES cpu/attention_rows.cpp)
fathom_isa_sources(ISAS scalar avx2 avx512 avx512_bf16 amx SOURCES cpu/attention_latent.cpp)
target_sources(fathom_kernels_ref PRIVATE ref/attention.cpp)
