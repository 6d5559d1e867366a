#include "kernels/cpu/vec_quantize.h"

namespace fathom::kernels::cpu::FATHOM_ISA_NS {
namespace {

/// A row and the one after it, which is prefetched during the second pass over this one: memory
/// would be idle while that reads from cache.
template <class T>
struct Row {
  const T *data, *next;
};
template <class T>
Row<T> row_of(const T* data, int64_t stride, int64_t row, int64_t rows) {
  return {data + row * stride, data + (row + 1 < rows ? row + 1 : row) * stride};
}

template <class X>
float rstd_of(const X* x, float eps, int64_t cols) {
  const float sum = sum_vectors(cols, [&](int64_t i, auto part) {
    const VecF v = load(x + i, part);
    return v * v;
  });
  return 1.0f / __builtin_sqrtf(sum / static_cast<float>(cols) + eps);
}

/// `write` takes the normalised values of the row.
template <class X, class Write>
void forward_rows(Rows x, const float* w, float eps, float* rstd_out, int64_t rows, int64_t cols,
                  Write write) {
  for (int64_t r = 0; r < rows; ++r) {
    const Row<X> row = row_of(static_cast<const X*>(x.data), x.stride, r, rows);
    const float rstd = rstd_of(row.data, eps, cols);
    if (rstd_out) rstd_out[r] = rstd;
    write(r, [&](int64_t i, auto part) {
      __builtin_prefetch(row.next + i);
      return load(row.data + i, part) * rstd * load(w + i, part);
    });
  }
}

template <class X, class Y>
void forward_as(Rows x, const float* w, float eps, MutableRows y, const QuantizedRows& q,
                float* rstd, int64_t rows, int64_t cols) {
  auto* y_data = static_cast<Y*>(y.data);
  const auto write_y = [&](int64_t r, auto value) {
    Y* out = y_data + r * y.stride;
    for_vectors(cols, [&](int64_t i, auto part) { store(out + i, value(i, part), part); });
  };
  const auto write_q = [&](int64_t r, auto value) { quantize_row(q, r, cols, value); };
  const auto write_both = [&](int64_t r, auto value) {
    Y* out = y_data + r * y.stride;
    quantize_row(q, r, cols, [&](int64_t i, auto part) {
      const VecF v = value(i, part);
      store(out + i, v, part);
      return v;
    });
  };
  if (!q.codes.codes)
    forward_rows<X>(x, w, eps, rstd, rows, cols, write_y);
  else if (!y_data)
    forward_rows<X>(x, w, eps, rstd, rows, cols, write_q);
  else
    forward_rows<X>(x, w, eps, rstd, rows, cols, write_both);
}

void forward(Rows x, const float* w, float eps, MutableRows y, const QuantizedRows& q, float* rstd,
             int64_t rows, int64_t cols) {
  with_type(x.bf16, [&](auto tx) {
    with_type(y.bf16, [&](auto ty) {
      forward_as<decltype(tx), decltype(ty)>(x, w, eps, y, q, rstd, rows, cols);
    });
  });
}

template <class DY, class X, class DX>
void backward_input_row(Row<DY> dy, Row<X> x, const float* w, float rstd, DX* dx, bool accumulate,
                        int64_t cols) {
  const float dot = sum_vectors(cols, [&](int64_t i, auto part) {
    return load(dy.data + i, part) * load(w + i, part) * load(x.data + i, part);
  });
  const float x_factor = dot / static_cast<float>(cols) * rstd * rstd;
  for_vectors(cols, [&](int64_t i, auto part) {
    __builtin_prefetch(dy.next + i);
    __builtin_prefetch(x.next + i);
    const VecF dy_w = load(dy.data + i, part) * load(w + i, part);
    VecF v = (dy_w - load(x.data + i, part) * x_factor) * rstd;
    if (accumulate) v += load(dx + i, part);
    store(dx + i, v, part);
  });
}

void backward_input(Rows dy, Rows x, const float* w, const float* rstd, MutableRows dx,
                    bool accumulate, int64_t rows, int64_t cols) {
  with_type(dy.bf16, [&](auto tdy) {
    with_type(x.bf16, [&](auto tx) {
      with_type(dx.bf16, [&](auto tdx) {
        const auto* dyp = static_cast<const decltype(tdy)*>(dy.data);
        const auto* xp = static_cast<const decltype(tx)*>(x.data);
        auto* dxp = static_cast<decltype(tdx)*>(dx.data);
        for (int64_t r = 0; r < rows; ++r)
          backward_input_row(row_of(dyp, dy.stride, r, rows), row_of(xp, x.stride, r, rows), w,
                             rstd[r], dxp + r * dx.stride, accumulate, cols);
      });
    });
  });
}

/// kRows rows at a time, so that dw is read and written once for them.
template <int kRows, class DY, class X>
void add_weight_rows(const DY* dy, int64_t dy_stride, const X* x, int64_t x_stride,
                     const float* rstd, float* dw, int64_t cols) {
  for_vectors(cols, [&](int64_t i, auto part) {
    VecF sum = {};
    for (int r = 0; r < kRows; ++r)
      sum += load(dy + r * dy_stride + i, part) * (load(x + r * x_stride + i, part) * rstd[r]);
    store(dw + i, load(dw + i, part) + sum, part);
  });
}

void backward_weight(Rows dy, Rows x, const float* rstd, float* dw, int64_t rows, int64_t cols) {
  with_type(dy.bf16, [&](auto tdy) {
    with_type(x.bf16, [&](auto tx) {
      const auto* dyp = static_cast<const decltype(tdy)*>(dy.data);
      const auto* xp = static_cast<const decltype(tx)*>(x.data);
      int64_t r = 0;
      for (; r + 4 <= rows; r += 4)
        add_weight_rows<4>(dyp + r * dy.stride, dy.stride, xp + r * x.stride, x.stride, rstd + r,
                           dw, cols);
      for (; r < rows; ++r)
        add_weight_rows<1>(dyp + r * dy.stride, dy.stride, xp + r * x.stride, x.stride, rstd + r,
                           dw, cols);
    });
  });
}

}  // namespace

const NormOps kNormOps = {forward, backward_input, backward_weight};

}  // namespace fathom::kernels::cpu::FATHOM_ISA_NS
