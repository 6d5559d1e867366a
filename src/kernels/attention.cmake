# Attention: products of packed tiles with row operations between them.
target_sources(fathom_kernels PRIVATE
  attention.cpp attention_decode.cpp cpu/attention_forward.cpp cpu/attention_backward.cpp
  cpu/attention_table.cpp)
fathom_isa_sources(ISAS scalar avx2 avx512 SOURCES cpu/attention_rows.cpp)
target_sources(fathom_kernels_ref PRIVATE ref/attention.cpp)
