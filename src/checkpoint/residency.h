#pragma once

#include "checkpoint/model_io.h"

namespace fathom {

/// Reads all files of a model into the page cache, with a progress bar, so that nothing waits for
/// the disk later. Of a model larger than memory the last part stays.
void preload(const StoredModel& model);

/// The rate, in bytes a second, at which a model's files are read from disk: measured on a piece of
/// the largest file that is given back to the disk before. 0 for files too small to tell.
double measure_disk_read(const StoredModel& model);

/// Tokens a second when decoding touches `touched` bytes a token of a model of `weights` bytes of
/// which `memory` fit: what does not fit comes from the disk each time.
double tokens_per_second_from_disk(double touched, double weights, double memory,
                                   double disk_bytes_per_s);

}  // namespace fathom
