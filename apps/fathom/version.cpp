#include <fmt/format.h>

#include "base/cpu.h"
#include "options.h"
#include "report.h"

namespace fathom::app {
namespace {

constexpr const char* kCompiler =
#if defined(__clang__)
    "clang " __clang_version__;
#else
    "g++ " __VERSION__;
#endif

}  // namespace

int run_version(const GlobalOptions& global) {
  Report report;
  report.add("version", FATHOM_VERSION);
  report.add("commit", FATHOM_COMMIT);
  report.add("compiler", kCompiler);
  report.add("cpu", cpu_model_name());
  report.add("cpus", static_cast<int64_t>(usable_cpus()));
  std::vector<std::string> isas;
  for (const Isa isa : available_isas()) isas.emplace_back(name_of(isa));
  report.add("isa_available", isas);
  report.add("isa_active", name_of(active_isa()));
  report.add("mpi", false);
  report.add("cuda", false);
  report.print(global.json);
  return 0;
}

}  // namespace fathom::app
