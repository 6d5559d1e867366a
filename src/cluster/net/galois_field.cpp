#include "cluster/net/galois_field.h"

#include "base/error.h"

namespace fathom::net {
namespace {

int64_t smallest_factor(int64_t q) {
  for (int64_t p = 2; p * p <= q; ++p)
    if (q % p == 0) return p;
  return q;
}

std::vector<int> digits_of(int a, int p, int count) {
  std::vector<int> digits(static_cast<size_t>(count));
  for (int& d : digits) {
    d = a % p;
    a /= p;
  }
  return digits;
}

int number_of(const std::vector<int>& digits, int p, int count) {
  int a = 0;
  for (int i = count - 1; i >= 0; --i) a = a * p + digits[static_cast<size_t>(i)];
  return a;
}

/// a * b modulo the monic polynomial x^m + modulus, all mod p, low digits first.
std::vector<int> product_of(const std::vector<int>& a, const std::vector<int>& b,
                            const std::vector<int>& modulus, int p) {
  const size_t m = a.size();
  std::vector<int> c(2 * m);
  for (size_t i = 0; i < m; ++i)
    for (size_t j = 0; j < m; ++j) c[i + j] = (c[i + j] + a[i] * b[j]) % p;
  for (size_t i = 2 * m - 1; i >= m; --i) {
    for (size_t j = 0; j < m; ++j) c[i - m + j] = (c[i - m + j] + c[i] * (p - modulus[j])) % p;
    c[i] = 0;
  }
  return c;
}

}  // namespace

bool is_prime_power(int64_t q) {
  if (q < 2) return false;
  const int64_t p = smallest_factor(q);
  while (q % p == 0) q /= p;
  return q == 1;
}

GaloisField::GaloisField(int q) : q_(q) {
  FATHOM_ASSERT(is_prime_power(q));
  p_ = static_cast<int>(smallest_factor(q));
  for (int n = q; n > 1; n /= p_) ++degree_;
  const auto at = static_cast<size_t>(q);
  sum_.resize(at * at);
  product_.resize(at * at);
  for (int a = 0; a < q; ++a)
    for (int b = 0; b < q; ++b) {
      std::vector<int> digits = digits_of(a, p_, degree_);
      const std::vector<int> other = digits_of(b, p_, degree_);
      for (size_t i = 0; i < digits.size(); ++i) digits[i] = (digits[i] + other[i]) % p_;
      sum_[static_cast<size_t>(a * q + b)] = number_of(digits, p_, degree_);
    }
  // A polynomial gives a field exactly if some element generates all the others.
  int modulus = 0;
  while (!tabulate_products(digits_of(modulus, p_, degree_)) || !find_primitive()) ++modulus;
}

bool GaloisField::tabulate_products(const std::vector<int>& modulus) {
  for (int a = 0; a < q_; ++a)
    for (int b = 0; b < q_; ++b) {
      const auto c = product_of(digits_of(a, p_, degree_), digits_of(b, p_, degree_), modulus, p_);
      const int product = number_of(c, p_, degree_);
      if (product == 0 && a != 0 && b != 0) return false;  // reducible: zero divisors
      product_[static_cast<size_t>(a * q_ + b)] = product;
    }
  return true;
}

bool GaloisField::find_primitive() {
  for (int g = 1; g < q_; ++g) {
    int order = 1;
    for (int x = g; x != 1 && order < q_; x = multiply(x, g)) ++order;
    if (order == q_ - 1) {
      primitive_ = g;
      return true;
    }
  }
  return false;
}

int GaloisField::negate(int a) const {
  for (int b = 0; b < q_; ++b)
    if (add(a, b) == 0) return b;
  FATHOM_ASSERT(false);
}

}  // namespace fathom::net
