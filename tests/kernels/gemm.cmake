fathom_test(gemm_test SOURCES gemm_test.cpp LIBS fathom_kernels_ref ISAS ${all_isas})
