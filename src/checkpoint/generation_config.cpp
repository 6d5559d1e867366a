#include "checkpoint/generation_config.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"

namespace fathom {
namespace {

using nlohmann::json;

bool is_token(const json& id, int64_t vocab_size) {
  return id.is_number_integer() && id.get<int64_t>() >= 0 && id.get<int64_t>() < vocab_size;
}

}  // namespace

std::vector<int64_t> read_generation_eos(const std::filesystem::path& directory,
                                         const ModelConfig& config) {
  const std::filesystem::path path = directory / "generation_config.json";
  if (!std::filesystem::exists(path)) return {};
  const json document = parse_json(read_text_file(path), path.string());
  const json eos = document.is_object() ? document.value("eos_token_id", json()) : json();
  if (eos.is_null()) return {};
  std::vector<int64_t> ids;
  for (const json& id : eos.is_array() ? eos : json::array({eos})) {
    if (!is_token(id, config.vocab_size))
      throw Error(fmt::format("{}: eos_token_id = {}: must be a token from 0 to vocab_size - 1 = "
                              "{}, or a list of them",
                              path.string(), brief(eos), config.vocab_size - 1),
                  "take the file of the model that config.json describes");
    ids.push_back(id.get<int64_t>());
  }
  return ids;
}

}  // namespace fathom
