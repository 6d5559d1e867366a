#include "base/error.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace fathom {

void throw_errno(const std::string& what, std::string hint) {
  throw Error(what + ": " + std::strerror(errno), std::move(hint));
}

void assertion_failed(const char* expression, const char* file, int line) {
  std::fprintf(stderr, "fathom: internal error: %s does not hold at %s:%d\n", expression, file,
               line);
  std::abort();
}

}  // namespace fathom
