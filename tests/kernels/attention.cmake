fathom_test(attention_test SOURCES attention_test.cpp attention_decode_test.cpp attention_ref_test.cpp
            LIBS fathom_kernels fathom_kernels_ref ISAS ${all_isas})
