#include "base/tensor.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <cstdlib>
#include <cstring>

namespace fathom {

size_t size_of(DType dtype) {
  switch (dtype) {
    case DType::kF64:
    case DType::kI64:
      return 8;
    case DType::kF32:
    case DType::kI32:
      return 4;
    case DType::kBF16:
    case DType::kF16:
      return 2;
    case DType::kE4M3:
    case DType::kE8M0:
    case DType::kU8:
    case DType::kI8:
      return 1;
  }
  return 0;
}

const char* name_of(DType dtype) {
  switch (dtype) {
    case DType::kF64:
      return "F64";
    case DType::kI64:
      return "I64";
    case DType::kF32:
      return "F32";
    case DType::kI32:
      return "I32";
    case DType::kBF16:
      return "BF16";
    case DType::kF16:
      return "F16";
    case DType::kE4M3:
      return "F8_E4M3";
    case DType::kE8M0:
      return "F8_E8M0";
    case DType::kU8:
      return "U8";
    case DType::kI8:
      return "I8";
  }
  return "?";
}

std::string describe(const ConstTensorView& view) {
  std::string shape;
  for (int d = 0; d < view.rank; ++d) shape += fmt::format("{}{}", d ? ", " : "", view.shape[d]);
  return fmt::format("{} [{}]", name_of(view.dtype), shape);
}

namespace {

// Asks for huge pages and gives back those that are there: the next touch finds zeros, on the NUMA
// node of the thread that touches. So threads that share the work on a tensor share its placement,
// and clearing costs no pass of its own.
bool drop_pages(void* p, size_t bytes) {
  madvise(p, bytes, MADV_HUGEPAGE);
  return madvise(p, bytes, MADV_DONTNEED) == 0;
}

}  // namespace

void* allocate_aligned(size_t bytes) {
  constexpr size_t kHuge = size_t{2} << 20;
  const size_t alignment = bytes >= kHuge ? kHuge : 64;
  const size_t rounded = (bytes + alignment - 1) / alignment * alignment;
  void* p = std::aligned_alloc(alignment, rounded == 0 ? alignment : rounded);
  if (!p) {
    throw Error(fmt::format("cannot allocate {:.2f} GiB of memory",
                            static_cast<double>(bytes) / (1024.0 * 1024.0 * 1024.0)),
                "use a smaller model, micro_batch or seq_len");
  }
  if (bytes < kHuge || !drop_pages(p, rounded)) std::memset(p, 0, rounded);
  return p;
}

void free_aligned(void* memory) {
  std::free(memory);
}

void Tensor::Free::operator()(void* p) const {
  free_aligned(p);
}

Tensor::Tensor(DType dtype, std::initializer_list<int64_t> shape) : view_(nullptr, dtype, shape) {
  memory_.reset(allocate_aligned(view_.bytes()));
  view_.data = memory_.get();
}

}  // namespace fathom
