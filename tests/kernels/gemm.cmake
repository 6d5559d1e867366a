fathom_test(gemm_test SOURCES gemm_test.cpp gemm_scaled_test.cpp gemm_form_test.cpp gemm_swiglu_test.cpp
                    gemm_table_test.cpp
            LIBS fathom_kernels_ref ISAS ${all_isas})
fathom_test(gemm_few_rows_test SOURCES gemm_few_rows_test.cpp
            LIBS fathom_kernels_ref ISAS ${all_isas})

fathom_test(gemm_stored_test SOURCES gemm_stored_test.cpp stored_weights_test.cpp
            LIBS fathom_kernels_ref ISAS ${all_isas})

# The AMX path over emulated tiles, with 64-byte vectors whatever the machine has.
set(emulated_sources ${PROJECT_SOURCE_DIR}/src/kernels/cpu/gemm_kernels.cpp
                     ${PROJECT_SOURCE_DIR}/src/kernels/cpu/gemm_stream.cpp
                     ${PROJECT_SOURCE_DIR}/src/kernels/cpu/gemm_decode.cpp)
fathom_test(gemm_amx_test SOURCES gemm_amx_test.cpp gemm_few_rows_amx_test.cpp gemm_stored_amx_test.cpp
            ${emulated_sources}
            LIBS fathom_kernels_ref)
set_source_files_properties(${emulated_sources} PROPERTIES
  COMPILE_DEFINITIONS "FATHOM_ISA_NS=amx_emulated;FATHOM_AMX_EMULATED;FATHOM_VECTOR_BYTES=64"
  COMPILE_OPTIONS "-Wno-psabi")
