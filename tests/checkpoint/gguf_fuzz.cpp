// Any bytes as a GGUF file: an accepted header places every tensor, whole and aligned, inside the
// file, and its vocabulary, if it has one, makes a tokenizer; anything else gives an Error.
#include <cstdint>
#include <cstdlib>

#include "base/error.h"
#include "checkpoint/gguf_tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace fathom;
  const std::span bytes(reinterpret_cast<const std::byte*>(data), size);
  try {
    const GgufHeader header = parse_gguf_header(bytes, "file");
    for (const GgufTensor& t : header.tensors)
      if (t.begin > size || t.bytes() > size - t.begin || t.begin % 8 != 0) std::abort();
    if (const auto vocabulary = gguf_vocabulary(header.metadata, bytes, "file"))
      Tokenizer::from_gguf(*vocabulary, "file").encode("The cat, 123  \xFF <x>", {true, true});
  } catch (const Error&) {
  }
  return 0;
}
