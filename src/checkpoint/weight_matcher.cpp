#include "checkpoint/weight_matcher.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "base/error.h"
#include "checkpoint/awq.h"
#include "checkpoint/packed_int.h"
#include "checkpoint/weight_format.h"
#include "checkpoint/widen.h"
#include "checkpoint/working_context.h"

namespace fathom {
namespace {

constexpr size_t kMaxProblemsShown = 8;

std::string shape_text(const std::vector<int64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

bool is_one_of(DType dtype, std::initializer_list<DType> dtypes) {
  return std::find(dtypes.begin(), dtypes.end(), dtype) != dtypes.end();
}

std::string dtypes_text(std::initializer_list<DType> dtypes) {
  std::string text;
  for (const DType d : dtypes) text += fmt::format("{}{}", text.empty() ? "" : " or ", name_of(d));
  return text;
}

bool is_matrix_product(const ParameterInfo& info) {
  return info.kind == ParameterKind::kMatrix && info.name != "model.embed_tokens.weight" &&
         info.name != "lm_head.weight";
}

}  // namespace

TensorView as_mutable(const ConstTensorView& view) {
  TensorView v;
  v.data = const_cast<void*>(view.data);
  v.dtype = view.dtype;
  v.rank = view.rank;
  v.shape = view.shape;
  v.stride = view.stride;
  return v;
}

WeightMatcher::Found WeightMatcher::find(const std::string& name) const {
  for (const CheckpointReader& r : readers_)
    if (const TensorInfo* tensor = r.find(name)) return {&r, tensor};
  return {};
}

WeightMatcher::Found WeightMatcher::part(const std::string& name, const std::vector<int64_t>& shape,
                                         std::initializer_list<DType> dtypes) {
  expected_.insert(name);
  const Found found = find(name);
  if (!found) {
    problem(fmt::format("tensor {} is missing, which its quantized weight needs", name));
  } else if (found.tensor->shape != shape) {
    problem(
        fmt::format("tensor {} has shape {}, its weight's shape and quantization_config need {}",
                    name, shape_text(found.tensor->shape), shape_text(shape)));
  } else if (!is_one_of(found.tensor->dtype, dtypes)) {
    problem(fmt::format("tensor {} is {}, must be {}", name, name_of(found.tensor->dtype),
                        dtypes_text(dtypes)));
  } else {
    return found;
  }
  return {};
}

bool WeightMatcher::expects_codes(const ParameterInfo& info, const char* method) {
  if (config_.quantization && config_.quantization->quant_method == method) return true;
  problem(
      fmt::format("tensor {} is quantized, but config.json has no quantization_config of "
                  "quant_method {}",
                  info.name, method));
  return false;
}

void WeightMatcher::take(const ParameterInfo& info, Parameter& p) {
  expected_.insert(info.name);
  const Found plain = find(info.name);
  if (!plain && is_matrix_product(info)) {
    if (const Found packed = find(info.name + "_packed")) return take_packed(info, packed, p);
    if (find(awq_name(info.name, "qweight"))) return take_awq(info, p);
  }
  if (!plain) return problem(fmt::format("tensor {} is missing", info.name));
  if (plain.tensor->shape != info.shape)
    return problem(fmt::format("tensor {} has shape {}, config.json asks for {}", info.name,
                               shape_text(plain.tensor->shape), shape_text(info.shape)));
  const DType dtype = plain.tensor->dtype;
  if (dtype == DType::kE4M3 && is_matrix_product(info)) return take_fp8(info, plain, p);
  if (dtype == DType::kI8 && is_matrix_product(info)) return take_int8(info, plain, p);
  take_plain(info, plain, p);
}

void WeightMatcher::take_plain(const ParameterInfo& info, const Found& found, Parameter& p) {
  const DType dtype = found.tensor->dtype;
  if (!is_one_of(dtype, {DType::kF32, DType::kBF16, DType::kF16}))
    return problem(fmt::format(
        "tensor {} is {}, which this model cannot use ({} is needed)", info.name, name_of(dtype),
        is_matrix_product(info) ? "F32, BF16, F16 or F8_E4M3 with scales" : "F32, BF16 or F16"));
  const ConstTensorView stored = found.view();
  p.weight = as_mutable(stored);
  if (dtype == DType::kF16 && info.kind == ParameterKind::kMatrix) {
    p.weight = {};
    p.quantized = stored;  // products and look-ups read it as it is
    return;
  }
  if (dtype == DType::kF16 || (info.kind == ParameterKind::kCorrectionBias && dtype != DType::kF32))
    pending_.push_back({Reading::kWiden, &p, info, info.name, stored, found.reader});
}

void WeightMatcher::take_fp8(const ParameterInfo& info, const Found& found, Parameter& p) {
  const std::string name = fp8_scale_name(info.name);
  expected_.insert(name);
  if (!expects_codes(info, "fp8")) return;
  const Found scale =
      part(name, fp8_scale_shape(info.shape), {DType::kF32, DType::kBF16, DType::kE8M0});
  if (!scale) return;
  p.quantized = kernels::ConstQuantizedView(found.view(), scale.view(), kernels::kBlock128x128);
  pending_.push_back({Reading::kFp8Scale, &p, info, name, scale.view(), scale.reader});
}

int64_t WeightMatcher::group_of(const std::string& scale, int64_t columns, int64_t groups) {
  const QuantizationConfig& q = *config_.quantization;
  const int64_t configured = q.group_size > 0 ? (columns + q.group_size - 1) / q.group_size : 1;
  if (q.uniform && groups != configured) {
    problem(fmt::format("tensor {} has {} groups for {} columns, quantization_config needs {}",
                        scale, groups, columns, configured));
    return -1;
  }
  int64_t group = 0;
  if (groups == 1) return 0;
  if (groups == configured)
    group = q.group_size;
  else if (groups > 0 && columns % groups == 0)
    group = columns / groups;
  if (group > 0 && group % 32 == 0) return group;
  problem(fmt::format("tensor {} has {} groups for {} columns: groups are of a multiple of 32",
                      scale, groups, columns));
  return -1;
}

bool WeightMatcher::has_zero_point(const ParameterInfo& info) const {
  const QuantizationConfig& q = *config_.quantization;
  return (q.uniform && !q.symmetric) || find(info.name + "_zero_point");
}

void WeightMatcher::take_packed(const ParameterInfo& info, const Found& packed, Parameter& p) {
  const int64_t rows = info.shape[0], cols = info.shape[1];
  for (const char* suffix : {"_packed", "_scale", "_zero_point", "_shape"})
    expected_.insert(info.name + suffix);
  if (!expects_codes(info, "compressed-tensors")) return;
  const std::vector<int64_t>& words = packed.tensor->shape;
  PackedIntLayout layout{rows, cols, 4, 0, true};
  if (words.size() == 2 && words[1] == (cols + 3) / 4 && cols > 4) layout.bits = 8;
  const Found scale = find(info.name + "_scale");
  if (scale && scale.tensor->shape.size() == 2)
    layout.group = group_of(scale.tensor->name, cols, scale.tensor->shape[1]);
  if (layout.group < 0) return;
  layout.symmetric = !has_zero_point(info);
  const std::vector<TensorSpec> specs = layout.tensors(info.name, DType::kBF16);
  const Found codes = part(specs[0].name, specs[0].shape, {DType::kI32});
  const Found scales =
      part(specs[1].name, specs[1].shape, {DType::kBF16, DType::kF16, DType::kF32});
  Found zero;
  if (!layout.symmetric) zero = part(specs[2].name, specs[2].shape, {DType::kI32});
  if (!codes || !scales || (!layout.symmetric && !zero)) return;
  const ConstTensorView s = scales.view();
  const auto matrix = layout.over(as_mutable(codes.view()), as_mutable(s),
                                  zero ? as_mutable(zero.view()) : TensorView());
  p.quantized = matrix.input(cols);
  pending_.push_back({Reading::kIntScale, &p, info, specs[1].name, s, scales.reader});
}

void WeightMatcher::take_int8(const ParameterInfo& info, const Found& found, Parameter& p) {
  const std::string name = info.name + "_scale", zero_name = info.name + "_zero_point";
  expected_.insert(name);
  if (!expects_codes(info, "compressed-tensors")) return;
  const Found any = find(name);
  const bool matrix = any && any.tensor->shape.size() == 2;
  const int64_t groups = matrix ? any.tensor->shape[1] : 1;
  const int64_t group = group_of(name, info.shape[1], groups);
  const Found scale = part(name, {info.shape[0], groups}, {DType::kBF16, DType::kF16, DType::kF32});
  const bool zeros = has_zero_point(info);
  const Found zero = zeros ? part(zero_name, {info.shape[0], groups}, {DType::kI8}) : Found();
  if (group < 0 || !scale || (zeros && !zero)) return;
  p.quantized =
      kernels::GemmInput::grouped_int(StorageFormat::kInt8, found.view(), info.shape[1],
                                      scale.view(), group, zero ? zero.view() : ConstTensorView());
  pending_.push_back({Reading::kIntScale, &p, info, name, scale.view(), scale.reader});
}

void WeightMatcher::take_awq(const ParameterInfo& info, Parameter& p) {
  for (const char* kind : {"qweight", "qzeros", "scales"})
    expected_.insert(awq_name(info.name, kind));
  if (!expects_codes(info, "awq")) return;
  const int64_t n = info.shape[0], k = info.shape[1];
  const int64_t group = config_.quantization->group_size;
  const int64_t groups = group > 0 ? (k + group - 1) / group : 1;
  if (n % 8 != 0 || k % 8 != 0 || group % 32 != 0)
    return problem(
        fmt::format("tensor {} is {} in groups of {}: AWQ matrices have multiples of 8 "
                    "rows and columns, and of 32 elements a group",
                    info.name, shape_text(info.shape), group));
  const bool zeros = !config_.quantization->symmetric;
  const Found codes = part(awq_name(info.name, "qweight"), {k, n / 8}, {DType::kI32});
  const Found zero =
      zeros ? part(awq_name(info.name, "qzeros"), {groups, n / 8}, {DType::kI32}) : Found();
  const std::string scale_name = awq_name(info.name, "scales");
  const Found scale = part(scale_name, {groups, n}, {DType::kF16, DType::kBF16});
  if (!codes || !scale || (zeros && !zero)) return;
  pending_.push_back({Reading::kIntScale, &p, info, scale_name, scale.view(), scale.reader});
  pending_.push_back({Reading::kAwq, &p, info, codes.tensor->name, codes.view(), codes.reader});
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
  for (const Pending& p : pending_) {
    if (p.what == Reading::kFp8Scale) p.reader->will_need(p.name);
    if (p.what == Reading::kIntScale) p.reader->will_need(p.name, p.stored.row_range(0, 1).bytes());
  }
  std::optional<WorkingContext> work;
  for (const Pending& p : pending_) switch (p.what) {
      case Reading::kFp8Scale:
        read_fp8_scale(p, owned);
        break;
      case Reading::kIntScale:
        check_scale(p, widen(p.stored.row_range(0, 1)), true);
        break;
      case Reading::kWiden:
        owned.push_back(widen(p.stored));
        p.parameter->weight = owned.back();
        break;
      case Reading::kAwq:
        if (!problems_.empty()) break;
        if (!work) work.emplace();
        repack_awq(work->context, p, owned);
        break;
    }
}

void WeightMatcher::read_fp8_scale(const Pending& pending, std::vector<Tensor>& owned) {
  ConstTensorView scale = pending.stored;
  if (scale.dtype != DType::kF32) {
    owned.push_back(widen(scale));
    scale = owned.back();
    pending.parameter->quantized.scale = scale;
  }
  check_scale(pending, scale, false);
}

void WeightMatcher::check_scale(const Pending& pending, ConstTensorView scale, bool zero_allowed) {
  const float* values = scale.as<float>();
  for (int64_t i = 0; i < scale.elements(); ++i) {
    if ((values[i] > 0 || (zero_allowed && values[i] == 0)) && !std::isinf(values[i])) continue;
    return problem(fmt::format("tensor {} holds {} at [{}, {}]: scales are positive and finite",
                               pending.name, values[i], i / scale.cols(), i % scale.cols()));
  }
}

void WeightMatcher::repack_awq(Context& ctx, const Pending& pending, std::vector<Tensor>& owned) {
  const QuantizationConfig& q = *config_.quantization;
  const std::string& name = pending.info.name;
  const Found scales = find(awq_name(name, "scales"));
  const Found zeros = q.symmetric ? Found() : find(awq_name(name, "qzeros"));
  pending.parameter->quantized =
      turn_awq(ctx, pending.info, q.group_size, pending.stored,
               zeros ? zeros.view() : ConstTensorView(), scales.view(), owned);
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
              "check that config.json and the safetensors files are of the same model and were "
              "downloaded whole");
}

}  // namespace fathom
