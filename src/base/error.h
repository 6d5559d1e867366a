#pragma once

#include <stdexcept>
#include <string>

namespace fathom {

/// What went wrong outside the program: a bad file, config, request or machine. The message names
/// what, where and the value; the hint says what to do. Programmer errors use FATHOM_ASSERT
/// instead.
class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& message, std::string hint = {})
      : std::runtime_error(message), hint_(std::move(hint)) {}

  const std::string& hint() const noexcept { return hint_; }

 private:
  std::string hint_;
};

/// A wrong command line: the process exits with 2 instead of 1.
class UsageError : public Error {
 public:
  using Error::Error;
};

/// Throws an Error that ends in the text of the current errno: "cannot open x: No such file".
[[noreturn]] void throw_errno(const std::string& what, std::string hint = {});

[[noreturn]] void assertion_failed(const char* expression, const char* file, int line);

}  // namespace fathom

/// Checks what only a programming mistake can make false; aborts with the place. Always compiled
/// in.
#define FATHOM_ASSERT(expression) \
  ((expression) ? (void)0 : ::fathom::assertion_failed(#expression, __FILE__, __LINE__))
