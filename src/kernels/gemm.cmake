target_sources(fathom_kernels PRIVATE gemm.cpp cpu/gemm_driver.cpp cpu/block_gemm.cpp)
target_sources(fathom_kernels_ref PRIVATE ref/gemm.cpp)
