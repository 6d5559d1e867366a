fathom_test(ops_test
  SOURCES adamw_test.cpp elementwise_test.cpp embedding_test.cpp emulated_gemm_test.cpp
          gating_test.cpp pack_test.cpp permute_test.cpp quantize_test.cpp rmsnorm_test.cpp
          rope_test.cpp swiglu_test.cpp vec_e4m3_test.cpp
  LIBS fathom_kernels fathom_kernels_ref ISAS ${all_isas})
fathom_test(cross_entropy_test SOURCES cross_entropy_test.cpp
            LIBS fathom_kernels fathom_kernels_ref ISAS ${all_isas})
