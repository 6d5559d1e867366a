# The small operations: memory-bound loops over rows, one file an operation.
target_sources(fathom_kernels PRIVATE
  adamw.cpp cross_entropy.cpp e5m6.cpp elementwise.cpp embedding.cpp emulated_gemm.cpp gating.cpp
  logfmt.cpp permute.cpp quantize.cpp rmsnorm.cpp rope.cpp swiglu.cpp cpu/ops_table.cpp)
fathom_isa_sources(ISAS scalar avx2 avx512
  SOURCES cpu/ops_loss.cpp cpu/ops_norm.cpp cpu/ops_optimizer.cpp cpu/ops_pack.cpp
          cpu/ops_rows.cpp)
fathom_isa_sources(ISAS scalar avx2 avx512 avx512_bf16
  SOURCES cpu/ops_activation.cpp cpu/ops_quantize.cpp)
target_sources(fathom_kernels_ref PRIVATE ref/gating.cpp ref/ops.cpp ref/quantize.cpp)
