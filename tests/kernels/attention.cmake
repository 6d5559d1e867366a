fathom_test(attention_test SOURCES attention_test.cpp attention_ref_test.cpp
            LIBS fathom_kernels fathom_kernels_ref ISAS ${all_isas})
fathom_test(attention_decode_test SOURCES attention_decode_test.cpp attention_cache_test.cpp
            LIBS fathom_kernels fathom_kernels_ref ISAS ${all_isas})

# Decode on AMX tiles, emulated, with 64-byte vectors whatever the machine has.
fathom_test(attention_amx_test SOURCES attention_amx_test.cpp
            ${PROJECT_SOURCE_DIR}/src/kernels/cpu/attention_latent.cpp LIBS fathom_kernels_ref)
set_source_files_properties(${PROJECT_SOURCE_DIR}/src/kernels/cpu/attention_latent.cpp PROPERTIES
  COMPILE_DEFINITIONS "FATHOM_ISA_NS=amx_emulated;FATHOM_AMX_EMULATED;FATHOM_VECTOR_BYTES=64"
  COMPILE_OPTIONS "-Wno-psabi")
