target_sources(fathom_kernels PRIVATE gemm.cpp quantized.cpp stored_weights.cpp cpu/gemm_driver.cpp cpu/gemm_few_rows.cpp
                                      cpu/gemm_blocked.cpp cpu/gemm_swiglu.cpp cpu/gemm_table.cpp cpu/gemm_operand.cpp
                                      cpu/roof.cpp)
fathom_isa_sources(ISAS scalar avx2 avx512 avx512_bf16 amx SOURCES cpu/gemm_kernels.cpp
                   cpu/gemm_stream.cpp cpu/gemm_decode.cpp)
target_sources(fathom_kernels_ref PRIVATE ref/gemm.cpp ref/weights.cpp)
