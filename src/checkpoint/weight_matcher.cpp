#include "checkpoint/weight_matcher.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "checkpoint/weight_format.h"
#include "checkpoint/widen.h"

namespace fathom {
namespace {

constexpr size_t kMaxProblemsShown = 8;

std::string shape_text(const std::vector<int64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

bool is_one_of(DType dtype, std::initializer_list<DType> dtypes) {
  return std::find(dtypes.begin(), dtypes.end(), dtype) != dtypes.end();
}

// A mapped file is read-only; inference never writes to weights.
TensorView as_mutable(const ConstTensorView& view) {
  TensorView v;
  v.data = const_cast<void*>(view.data);
  v.dtype = view.dtype;
  v.rank = view.rank;
  v.shape = view.shape;
  v.stride = view.stride;
  return v;
}

bool is_matrix_product(const ParameterInfo& info) {
  return info.kind == ParameterKind::kMatrix && info.name != "model.embed_tokens.weight" &&
         info.name != "lm_head.weight";
}

// The first value that cannot be a scale; -1 when all can.
int64_t find_bad_scale(const ConstTensorView& scale) {
  const float* values = scale.as<float>();
  for (int64_t i = 0; i < scale.elements(); ++i)
    if (!(values[i] > 0) || std::isinf(values[i])) return i;
  return -1;
}

}  // namespace

const CheckpointReader* WeightMatcher::reader_of(const std::string& name) const {
  for (const CheckpointReader& r : readers_)
    if (r.contains(name)) return &r;
  return nullptr;
}

void WeightMatcher::take(const ParameterInfo& info, Parameter& p) {
  expected_.insert(info.name);
  const CheckpointReader* reader = reader_of(info.name);
  if (!reader) return problem(fmt::format("tensor {} is missing", info.name));
  const TensorInfo& t = *reader->find(info.name);
  if (t.shape != info.shape)
    return problem(fmt::format("tensor {} has shape {}, config.json asks for {}", info.name,
                               shape_text(t.shape), shape_text(info.shape)));
  if (t.dtype == DType::kE4M3 && is_matrix_product(info)) return take_fp8(info, *reader, p);
  take_plain(info, *reader, p);
}

void WeightMatcher::take_plain(const ParameterInfo& info, const CheckpointReader& reader,
                               Parameter& p) {
  const TensorInfo& t = *reader.find(info.name);
  if (!is_one_of(t.dtype, {DType::kF32, DType::kBF16, DType::kF16}))
    return problem(fmt::format(
        "tensor {} is {}, which this model cannot use ({} is needed)", info.name, name_of(t.dtype),
        is_matrix_product(info) ? "F32, BF16, F16 or F8_E4M3 with scales" : "F32, BF16 or F16"));
  const ConstTensorView stored = reader.get(info.name);
  p.weight = as_mutable(stored);
  const bool wants_f32 = info.kind == ParameterKind::kCorrectionBias;
  if (t.dtype == DType::kF16 || (wants_f32 && t.dtype != DType::kF32))
    pending_.push_back({&p, info.name, stored, &reader, false});
}

void WeightMatcher::take_fp8(const ParameterInfo& info, const CheckpointReader& reader,
                             Parameter& p) {
  const std::string name = fp8_scale_name(info.name);
  expected_.insert(name);
  if (!config_.quantization)
    return problem(
        fmt::format("tensor {} is F8_E4M3, but config.json has no quantization_config", info.name));
  const CheckpointReader* scale_reader = reader_of(name);
  if (!scale_reader)
    return problem(fmt::format("tensor {} is missing: {} is F8_E4M3", name, info.name));
  const TensorInfo& s = *scale_reader->find(name);
  const std::vector<int64_t> shape = fp8_scale_shape(info.shape);
  if (s.shape != shape)
    return problem(fmt::format("tensor {} has shape {}, blocks of 128 x 128 need {}", name,
                               shape_text(s.shape), shape_text(shape)));
  if (!is_one_of(s.dtype, {DType::kF32, DType::kBF16, DType::kE8M0}))
    return problem(
        fmt::format("tensor {} is {}: scales are F32, BF16 or F8_E8M0", name, name_of(s.dtype)));
  const ConstTensorView scale = scale_reader->get(name);
  p.quantized = kernels::ConstQuantizedView(reader.get(info.name), scale, kernels::kBlock128x128);
  pending_.push_back({&p, name, scale, scale_reader, true});
}

void WeightMatcher::report_unknown() {
  for (const CheckpointReader& r : readers_)
    for (const std::string& name : r.names())
      // Tables that older versions of the published code kept in the checkpoint.
      if (!expected_.contains(name) && !name.ends_with(".rotary_emb.inv_freq"))
        problem(fmt::format("tensor {} is not part of the model", name));
}

void WeightMatcher::read_values(std::vector<Tensor>& owned) {
  // Thousands of small pieces all over the files: ask for all of them before waiting for the first.
  for (const Pending& p : pending_) p.reader->will_need(p.name);
  for (const Pending& p : pending_) {
    if (p.is_scale) {
      read_scale(p, owned);
      continue;
    }
    owned.push_back(widen(p.stored));
    p.parameter->weight = owned.back();
  }
}

void WeightMatcher::read_scale(const Pending& pending, std::vector<Tensor>& owned) {
  ConstTensorView scale = pending.stored;
  if (scale.dtype != DType::kF32) {
    owned.push_back(widen(scale));
    scale = owned.back();
    pending.parameter->quantized.scale = scale;
  }
  const int64_t bad = find_bad_scale(scale);
  if (bad < 0) return;
  problem(fmt::format("tensor {} holds {} at [{}, {}]: scales are positive and finite",
                      pending.name, scale.as<float>()[bad], bad / scale.cols(),
                      bad % scale.cols()));
}

void WeightMatcher::throw_problems(const std::string& source) const {
  if (problems_.empty()) return;
  std::string text =
      fmt::format("{}: {} of the weights do not fit config.json:", source, problems_.size());
  for (size_t i = 0; i < std::min(problems_.size(), kMaxProblemsShown); ++i)
    text += fmt::format("{} {}", i ? ";" : "", problems_[i]);
  if (problems_.size() > kMaxProblemsShown)
    text += fmt::format("; and {} more", problems_.size() - kMaxProblemsShown);
  throw Error(text,
              "check that config.json and the safetensors files are of the same model and "
              "were downloaded whole");
}

}  // namespace fathom
