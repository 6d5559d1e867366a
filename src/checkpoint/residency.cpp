#include "checkpoint/residency.h"

#include <algorithm>
#include <chrono>

#include "base/progress.h"

namespace fathom {
namespace {

constexpr size_t kPiece = size_t{64} << 20;

}  // namespace

void preload(const StoredModel& model) {
  double total = 0, done = 0;
  for (const MappedFile* file : model.files()) total += static_cast<double>(file->size());
  Progress progress("reading weights", total, "B");
  for (const MappedFile* file : model.files())
    for (size_t begin = 0; begin < file->size(); begin += kPiece) {
      const size_t bytes = std::min(kPiece, file->size() - begin);
      file->populate(begin, bytes);
      progress.update(done += static_cast<double>(bytes));
    }
}

double measure_disk_read(const StoredModel& model) {
  const MappedFile* largest = nullptr;
  for (const MappedFile* file : model.files())
    if (!largest || file->size() > largest->size()) largest = file;
  if (!largest || largest->size() < 2 * kPiece) return 0;
  const size_t begin = largest->size() / 2 / kPiece * kPiece;
  largest->forget(begin, kPiece);
  const auto start = std::chrono::steady_clock::now();
  largest->populate(begin, kPiece);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  return static_cast<double>(kPiece) / seconds.count();
}

double tokens_per_second_from_disk(double touched, double weights, double memory,
                                   double disk_bytes_per_s) {
  const double missing = std::clamp(1 - memory / weights, 0.0, 1.0);
  return disk_bytes_per_s / std::max(1.0, touched * missing);
}

}  // namespace fathom
