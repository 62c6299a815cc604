#include "snell/nn/layers.h"

#include <cmath>

#include "snell/nn/masks.h"

namespace snell::nn {

LayerNorm::LayerNorm(int64_t features, double epsilon, const TensorPlace& place)
    : weight_D(at::ones({features}, place.options())), bias_D(at::zeros({features}, place.options())), eps(epsilon) {}

void LayerNorm::append_to(Parameters& out, const std::string& path) const {
  out.push_back({path + ".weight", weight_D});
  out.push_back({path + ".bias", bias_D});
}

Conv::Conv(int64_t out_channels, int64_t in_channels_a_group, int64_t side, const TensorPlace& place)
    : weight(at::zeros({out_channels, in_channels_a_group, side, side}, place.options())),
      bias(at::zeros({out_channels}, place.options())) {}

at::Tensor Conv::operator()(const at::Tensor& x_BCHW, int64_t stride, int64_t padding, int64_t groups) const {
  return at::conv2d(x_BCHW, in_type_of(x_BCHW, weight), in_type_of(x_BCHW, bias), stride, padding, 1, groups);
}

void Conv::append_to(Parameters& out, const std::string& path) const {
  out.push_back({path + ".weight", weight});
  out.push_back({path + ".bias", bias});
}

double Conv::default_bound() const {
  return 1.0 / std::sqrt(static_cast<double>(weight.numel() / weight.size(0)));
}

ProjectionSpec projection_spec(const std::string& parent, const std::string& name, int64_t in_features,
                               int64_t out_features, bool bias, uint32_t layer, bool adapter_dropout,
                               const std::vector<std::string>& slices) {
  ProjectionSpec spec{parent + "." + name, in_features, out_features, bias, {}, layer, adapter_dropout};
  const int64_t width = out_features / static_cast<int64_t>(slices.size());
  for (size_t i = 0; i < slices.size(); ++i) {
    const auto begin = static_cast<int64_t>(i) * width;
    spec.slices.push_back({slices[i], parent, begin, begin + width});
  }
  return spec;
}

at::Tensor drop_path(const at::Tensor& x, double rate, const core::StepContext& context, uint32_t site) {
  if (!context.training || rate == 0) return x;
  return x * drop_path_factors(x, rate, context, core::Purpose::kDropPath, site);
}

double drop_path_rate(double last, int64_t index, int64_t depth) {
  return depth > 1 ? last * static_cast<double>(index) / static_cast<double>(depth - 1) : 0.0;
}

void append(Parameters& out, const Parameters& more) {
  out.insert(out.end(), more.begin(), more.end());
}

}  // namespace snell::nn
