#include "base/cpu.h"

#include <fmt/format.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <fstream>
#include <optional>

#include "base/error.h"
#include "base/numa.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace fathom {
namespace {

constexpr std::array<const char*, 5> kNames = {"scalar", "avx2", "avx512", "avx512_bf16", "amx"};

#if defined(__x86_64__)
struct Cpuid {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Cpuid cpuid(unsigned leaf, unsigned subleaf) {
  Cpuid r;
  __get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx);
  return r;
}

bool bit(unsigned word, int n) {
  return (word >> n) & 1;
}

// Linux hands out the 8 KiB of tile state only to a process that asks (feature 18, XTILEDATA).
bool request_amx_permission() {
  constexpr long kArchReqXcompPerm = 0x1023;
  constexpr long kXtileData = 18;
  return syscall(SYS_arch_prctl, kArchReqXcompPerm, kXtileData) == 0;
}

std::vector<Isa> detect() {
  std::vector<Isa> isas = {Isa::kScalar};
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return isas;
  isas.push_back(Isa::kAvx2);
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
      !__builtin_cpu_supports("avx512vl") || !__builtin_cpu_supports("avx512dq"))
    return isas;
  isas.push_back(Isa::kAvx512);
  // E4M3 is decoded by byte permutes (VBMI). Of the processors with BF16 instructions only Cooper
  // Lake lacks them, whose BF16 products are hardly faster than F32: it runs the avx512 kernels.
  const bool vbmi = __builtin_cpu_supports("avx512vbmi");
  if (!vbmi || !bit(cpuid(7, 1).eax, 5)) return isas;  // AVX512_BF16
  isas.push_back(Isa::kAvx512Bf16);
  const unsigned edx = cpuid(7, 0).edx;
  const bool amx_bf16 = bit(edx, 22) && bit(edx, 24);  // AMX-BF16, AMX-TILE
  if (amx_bf16 && request_amx_permission()) isas.push_back(Isa::kAmx);
  return isas;
}
#else
std::vector<Isa> detect() {
  return {Isa::kScalar};
}
#endif

bool is_available(Isa isa) {
  const auto& isas = available_isas();
  return std::find(isas.begin(), isas.end(), isa) != isas.end();
}

Isa checked(std::string_view source, std::string_view name) {
  const Isa isa = parse_isa(name, source);
  if (is_available(isa)) return isa;
  throw UsageError(fmt::format("{} asks for {}, which this machine lacks", source, name),
                   fmt::format("the best available is {}", name_of(available_isas().back())));
}

std::optional<Isa>& selection() {
  static std::optional<Isa> isa;
  return isa;
}

}  // namespace

const char* name_of(Isa isa) {
  return kNames[static_cast<size_t>(isa)];
}

Isa parse_isa(std::string_view name, std::string_view source) {
  for (size_t i = 0; i < kNames.size(); ++i)
    if (name == kNames[i]) return static_cast<Isa>(i);
  throw UsageError(fmt::format("{}: unknown instruction set '{}'", source, name),
                   "one of auto, scalar, avx2, avx512, avx512_bf16, amx");
}

const std::vector<Isa>& available_isas() {
  static const std::vector<Isa> isas = detect();
  return isas;
}

Isa active_isa() {
  if (selection()) return *selection();
  static const Isa isa = [] {
    const char* forced = std::getenv("FATHOM_ISA");
    if (forced && *forced && std::string_view(forced) != "auto")
      return checked("FATHOM_ISA", forced);
    return available_isas().back();
  }();
  return isa;
}

void select_isa(std::string_view name) {
  if (name != "auto") selection() = checked("--isa", name);
}

std::string cpu_model_name() {
  std::ifstream f("/proc/cpuinfo");
  for (std::string line; std::getline(f, line);)
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  return "unknown CPU";
}

int usable_cpus() {
  return plan_threads(0, machine()).threads;
}

}  // namespace fathom
