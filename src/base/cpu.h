#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace fathom {

/// Instruction sets that have kernels of their own, each including those before it. Names as in
/// `--isa` and FATHOM_ISA: scalar, avx2, avx512, avx512_bf16, amx. `scalar` is the portable path
/// (128-bit vectors of the base architecture, also aarch64); avx512_bf16 and amx include VBMI.
enum class Isa { kScalar, kAvx2, kAvx512, kAvx512Bf16, kAmx };

const char* name_of(Isa isa);
/// Throws UsageError naming the source and the valid spellings.
Isa parse_isa(std::string_view name, std::string_view source = "--isa");

/// What this machine can run, ascending. AMX counts only if the kernel granted its use; asking for
/// it here (arch_prctl) makes this the first thing a process does, before threads start.
const std::vector<Isa>& available_isas();

/// The instruction set kernels are chosen for: FATHOM_ISA or select_isa if given, else the best
/// available. Throws UsageError when FATHOM_ISA names one that the machine lacks.
Isa active_isa();
/// Overrides the choice (the --isa option; "auto" keeps the default). Before the first kernel call.
void select_isa(std::string_view name);

/// "AMD EPYC 9B45", or the architecture when unknown.
std::string cpu_model_name();
/// Processors this process may use, at least 1: affinity mask, control group's quota and local MPI
/// ranks respected (plan_threads in base/numa.h).
int usable_cpus();

}  // namespace fathom
