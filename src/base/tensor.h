#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <type_traits>

#include "base/error.h"

namespace fathom {

/// Storage formats. kBF16 is the upper half of an F32, kE8M0 a power of two; see numerics/.
enum class DType : uint8_t { kF32, kBF16, kF16, kF64, kE4M3, kI32, kI64, kU8, kI8, kE8M0 };

size_t size_of(DType dtype);
const char* name_of(DType dtype);  // "F32", "BF16", … as safetensors spells them

/// Where memory lives. Kernels reject a view whose device is not their context's.
struct Device {
  enum class Kind : uint8_t { kCpu, kCuda };
  Kind kind = Kind::kCpu;
  int index = 0;
  bool operator==(const Device&) const = default;
};

struct BF16;  // numerics/bf16.h

template <class T>
struct DTypeOf;
template <>
struct DTypeOf<float> {
  static constexpr DType value = DType::kF32;
};
template <>
struct DTypeOf<double> {
  static constexpr DType value = DType::kF64;
};
template <>
struct DTypeOf<BF16> {
  static constexpr DType value = DType::kBF16;
};
template <>
struct DTypeOf<int32_t> {
  static constexpr DType value = DType::kI32;
};
template <>
struct DTypeOf<int64_t> {
  static constexpr DType value = DType::kI64;
};
template <>
struct DTypeOf<uint8_t> {
  static constexpr DType value = DType::kU8;
};
template <>
struct DTypeOf<int8_t> {
  static constexpr DType value = DType::kI8;
};

/// A typed row-major matrix, not owning: element (r, c) at data[r * stride + c].
template <class T>
struct MatrixView {
  T* data = nullptr;
  int64_t rows = 0, cols = 0, stride = 0;

  T* row(int64_t r) const { return data + r * stride; }
  T& operator()(int64_t r, int64_t c) const { return data[r * stride + c]; }
  operator MatrixView<const T>() const { return {data, rows, cols, stride}; }
};

/// A strided array of up to four dimensions, not owning. A value: copy it freely. Strides count
/// elements; the last dimension is contiguous in every kernel contract unless it says otherwise.
template <bool kConst>
struct BasicTensorView {
  static constexpr int kMaxRank = 4;
  using Pointer = std::conditional_t<kConst, const void*, void*>;
  template <class T>
  using Element = std::conditional_t<kConst, const T, T>;

  Pointer data = nullptr;
  DType dtype = DType::kF32;
  Device device;
  int rank = 0;
  std::array<int64_t, kMaxRank> shape{};
  std::array<int64_t, kMaxRank> stride{};

  BasicTensorView() = default;
  /// Contiguous, row-major.
  BasicTensorView(Pointer data_in, DType dtype_in, std::initializer_list<int64_t> shape_in,
                  Device device_in = {})
      : data(data_in), dtype(dtype_in), device(device_in), rank(static_cast<int>(shape_in.size())) {
    FATHOM_ASSERT(shape_in.size() <= kMaxRank);
    int d = 0;
    for (int64_t n : shape_in) shape[d++] = n;
    int64_t step = 1;
    for (d = rank - 1; d >= 0; --d) {
      stride[d] = step;
      step *= shape[d];
    }
  }
  /// A mutable view is usable wherever a const one is asked for.
  template <bool C = kConst, class = std::enable_if_t<C>>
  BasicTensorView(const BasicTensorView<false>& v)  // NOLINT: implicit on purpose
      : data(v.data),
        dtype(v.dtype),
        device(v.device),
        rank(v.rank),
        shape(v.shape),
        stride(v.stride) {}

  explicit operator bool() const { return data != nullptr; }
  int64_t rows() const { return shape[0]; }
  int64_t cols() const { return shape[rank - 1]; }

  int64_t elements() const {
    int64_t n = 1;
    for (int d = 0; d < rank; ++d) n *= shape[d];
    return n;
  }
  size_t bytes() const { return static_cast<size_t>(elements()) * size_of(dtype); }

  bool contiguous() const {
    int64_t step = 1;
    for (int d = rank - 1; d >= 0; --d) {
      if (shape[d] != 1 && stride[d] != step) return false;
      step *= shape[d];
    }
    return true;
  }

  /// The first element as T. Asserts that the dtype is T's.
  template <class T>
  Element<T>* as() const {
    FATHOM_ASSERT(dtype == DTypeOf<std::remove_const_t<T>>::value);
    return static_cast<Element<T>*>(data);
  }

  /// A rank-2 view as a typed matrix (a rank-1 view is one row).
  template <class T>
  MatrixView<Element<T>> matrix() const {
    FATHOM_ASSERT(rank == 1 || rank == 2);
    FATHOM_ASSERT(stride[rank - 1] == 1 || shape[rank - 1] <= 1);
    if (rank == 1) return {as<T>(), 1, shape[0], shape[0]};
    return {as<T>(), shape[0], shape[1], stride[0]};
  }

  /// [begin, begin + count) of dimension d, sharing memory.
  BasicTensorView slice(int d, int64_t begin, int64_t count) const {
    FATHOM_ASSERT(d < rank && begin >= 0 && count >= 0 && begin + count <= shape[d]);
    BasicTensorView v = *this;
    using Byte = std::conditional_t<kConst, const std::byte, std::byte>;
    v.data = static_cast<Byte*>(data) + begin * stride[d] * static_cast<int64_t>(size_of(dtype));
    v.shape[d] = count;
    return v;
  }
  BasicTensorView row_range(int64_t begin, int64_t count) const { return slice(0, begin, count); }
  BasicTensorView col_range(int64_t begin, int64_t count) const {
    return slice(rank - 1, begin, count);
  }

  /// The same contiguous elements under another shape.
  BasicTensorView reshape(std::initializer_list<int64_t> new_shape) const {
    FATHOM_ASSERT(contiguous());
    BasicTensorView v(data, dtype, new_shape, device);
    FATHOM_ASSERT(v.elements() == elements());
    return v;
  }
};

using TensorView = BasicTensorView<false>;
using ConstTensorView = BasicTensorView<true>;

/// "BF16 [128, 64]", for messages.
std::string describe(const ConstTensorView& view);

/// Owns the memory of one contiguous tensor: 64-byte aligned (2 MiB when large, with huge pages
/// asked for), zeroed.
class Tensor {
 public:
  Tensor() = default;
  Tensor(DType dtype, std::initializer_list<int64_t> shape);

  const TensorView& view() const { return view_; }
  operator TensorView() const { return view_; }       // NOLINT: a tensor is used as its view
  operator ConstTensorView() const { return view_; }  // NOLINT
  explicit operator bool() const { return view_.data != nullptr; }
  template <class T>
  T* as() const {
    return view_.as<T>();
  }

 private:
  struct Free {
    void operator()(void* p) const;
  };
  std::unique_ptr<void, Free> memory_;
  TensorView view_;
};

/// Aligned zeroed memory as Tensor uses it; throws Error naming the size when there is none.
void* allocate_aligned(size_t bytes);
void free_aligned(void* memory);

}  // namespace fathom
