target_sources(fathom_kernels PRIVATE attention.cpp attention_decode.cpp cpu/attention_dispatch.cpp)
fathom_isa_sources(ISAS scalar avx2 avx512 avx512_bf16 amx
                   SOURCES cpu/attention_forward.cpp cpu/attention_backward.cpp
                           cpu/attention_decode.cpp cpu/attention_table.cpp)
target_sources(fathom_kernels_ref PRIVATE ref/attention.cpp)
