#pragma once

#include <cstdint>

namespace fathom {

/// The most physical memory this process has held so far.
int64_t peak_rss_bytes();

}  // namespace fathom
