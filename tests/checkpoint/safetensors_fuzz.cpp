// Any bytes as a safetensors file and as an index: an accepted header places every tensor inside
// the file and means the same when it is written again; anything else gives an Error.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "base/error.h"
#include "checkpoint/safetensors.h"

namespace {

using namespace fathom;

void check(const SafetensorsHeader& header, uint64_t file_bytes) {
  std::vector<TensorSpec> specs;
  for (const TensorInfo& tensor : header.tensors) {
    if (tensor.begin > file_bytes || tensor.bytes() > file_bytes - tensor.begin) std::abort();
    if (view_of(tensor, nullptr).bytes() != tensor.bytes()) std::abort();
    specs.push_back(tensor);
  }
  std::string again = make_safetensors_header(specs, header.metadata);
  uint64_t data = 0;
  for (const TensorSpec& spec : specs) data += spec.bytes();
  again.resize(again.size() + data);
  const auto bytes = std::as_bytes(std::span(again));
  if (parse_safetensors_header(bytes, "again").tensors.size() != specs.size()) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span bytes(reinterpret_cast<const std::byte*>(data), size);
  try {
    check(parse_safetensors_header(bytes, "file"), size);
  } catch (const Error&) {
  }
  try {
    parse_safetensors_index({reinterpret_cast<const char*>(data), size}, "index");
  } catch (const Error&) {
  }
  return 0;
}
