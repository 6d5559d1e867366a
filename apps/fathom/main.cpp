#include <cstdio>
#include <exception>

#include "base/error.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "options.h"

namespace {

// One line, whatever a name or a library's message holds: what is wrong, where, what to do.
int fail(const char* message, const std::string& hint, int status) {
  fathom::set_status_line({});
  std::string line = message + (hint.empty() ? "" : "; hint: " + hint);
  for (char& c : line)
    if (c == '\n' || c == '\r') c = ' ';
  std::fprintf(stderr, "fathom: %s\n", line.c_str());
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return fathom::app::run_command_line(argc, argv);
  } catch (const fathom::Interrupted& e) {
    fathom::set_status_line({});
    return e.exit_status();
  } catch (const fathom::UsageError& e) {
    return fail(e.what(), e.hint(), 2);
  } catch (const fathom::Error& e) {
    return fail(e.what(), e.hint(), 1);
  } catch (const std::exception& e) {
    return fail(e.what(), "", 1);
  }
}
