# Options and the three functions every CMakeLists.txt of the project is written with.
option(FATHOM_BUILD_TESTS "Build the tests" ON)
option(FATHOM_BUILD_BENCHMARKS "Build the Google Benchmark programs in bench/" OFF)
option(FATHOM_BUILD_FUZZERS "Build the libFuzzer targets (clang only)" OFF)
option(FATHOM_WERROR "Turn warnings into errors" OFF)
set(FATHOM_SANITIZE "" CACHE STRING "Sanitizers, as in -fsanitize=: 'address,undefined' or 'thread'")

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -g1") # assertions stay on: they cost nothing measurable
find_program(CCACHE ccache)
if(CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE})
endif()
if(FATHOM_BUILD_FUZZERS)
  add_compile_options(-fsanitize=fuzzer-no-link) # coverage of every layer guides the fuzzer
endif()

add_library(fathom_options INTERFACE)
target_compile_options(fathom_options INTERFACE -Wall -Wextra -Wconversion -Wno-sign-conversion
                                                -ffp-contract=fast -fno-math-errno)
target_include_directories(fathom_options INTERFACE ${PROJECT_SOURCE_DIR}/src)
if(FATHOM_WERROR)
  target_compile_options(fathom_options INTERFACE -Werror)
endif()
if(FATHOM_SANITIZE)
  set(CMAKE_CXX_FLAGS_RELEASE "-O1 -g1") # instrumented code takes a third less to compile
  add_compile_options(-fsanitize=${FATHOM_SANITIZE} -fno-sanitize-recover=all
                      -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${FATHOM_SANITIZE})
endif()

# fathom_layer(NAME SOURCES a.cpp… DEPENDS lower layers and libraries… [PRIVATE libraries…])
# One static library a layer. A layer links only layers below it.
function(fathom_layer name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS;PRIVATE" ${ARGN})
  add_library(fathom_${name} STATIC ${ARG_SOURCES})
  target_link_libraries(fathom_${name} PUBLIC fathom_options ${ARG_DEPENDS} PRIVATE ${ARG_PRIVATE})
endfunction()

# All GoogleTest programs: what there is to build without the program's own commands.
add_custom_target(unit_tests)

# fathom_test(NAME SOURCES… LIBS… [ISAS list]): a GoogleTest program registered with ctest.
# With ISAS the program is registered once for each instruction set, forced by FATHOM_ISA;
# an instruction set that the machine lacks is reported as skipped (exit code 77).
function(fathom_test name)
  if(NOT FATHOM_BUILD_TESTS)
    return()
  endif()
  cmake_parse_arguments(ARG "" "" "SOURCES;LIBS;ISAS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  add_dependencies(unit_tests ${name})
  target_link_libraries(${name} PRIVATE fathom_test_main ${ARG_LIBS})
  target_compile_definitions(${name} PRIVATE FATHOM_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  if(NOT ARG_ISAS)
    add_test(NAME ${name} COMMAND ${name})
    set_tests_properties(${name} PROPERTIES SKIP_RETURN_CODE 77)
  endif()
  foreach(isa IN LISTS ARG_ISAS)
    add_test(NAME ${name}.${isa} COMMAND ${name})
    set_tests_properties(${name}.${isa} PROPERTIES ENVIRONMENT FATHOM_ISA=${isa} SKIP_RETURN_CODE 77)
  endforeach()
endfunction()

# fathom_fuzzer(NAME SOURCES… LIBS…): a libFuzzer target, built only on request.
function(fathom_fuzzer name)
  if(NOT FATHOM_BUILD_FUZZERS)
    return()
  endif()
  cmake_parse_arguments(ARG "" "" "SOURCES;LIBS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_LIBS})
  target_link_options(${name} PRIVATE -fsanitize=fuzzer)
endfunction()
