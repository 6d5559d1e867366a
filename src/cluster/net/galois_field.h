#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace fathom::net {

bool is_prime_power(int64_t q);

/// The finite field of q elements, q a prime power, with the elements numbered 0 to q - 1 (0 and 1
/// are the field's). For q = p^m an element's number has the base-p digits of its polynomial.
class GaloisField {
 public:
  explicit GaloisField(int q);

  int size() const { return q_; }
  int add(int a, int b) const { return sum_[static_cast<size_t>(a * q_ + b)]; }
  int multiply(int a, int b) const { return product_[static_cast<size_t>(a * q_ + b)]; }
  int negate(int a) const;
  /// The smallest element whose powers are all elements but 0.
  int primitive() const { return primitive_; }

 private:
  bool tabulate_products(const std::vector<int>& modulus);
  bool find_primitive();

  int q_, p_ = 0, degree_ = 0, primitive_ = 0;
  std::vector<int> sum_, product_;
};

}  // namespace fathom::net
