#include "snell/nn/load_weights.h"

#include <cmath>
#include <set>

#include "snell/core/error.h"
#include "weight_names.h"

namespace snell::nn {
namespace {

at::ScalarType scalar_type(io::DType dtype) {
  switch (dtype) {
    case io::DType::kBool:
      return at::kBool;
    case io::DType::kU8:
      return at::kByte;
    case io::DType::kI8:
      return at::kChar;
    case io::DType::kI16:
      return at::kShort;
    case io::DType::kI32:
      return at::kInt;
    case io::DType::kI64:
      return at::kLong;
    case io::DType::kF16:
      return at::kHalf;
    case io::DType::kBF16:
      return at::kBFloat16;
    case io::DType::kF32:
      return at::kFloat;
    case io::DType::kF64:
      return at::kDouble;
  }
  throw core::Error("a tensor type outside the enumeration");
}

std::string preview(const std::vector<std::string>& names) {
  std::vector<std::string> first(names.begin(),
                                 names.begin() + static_cast<int64_t>(std::min<size_t>(names.size(), 8)));
  return core::str(core::join(first), names.size() > 8 ? core::str(", … (", names.size(), " in all)") : "");
}

// [1, 1 + S², D] to another grid: bicubic without antialiasing, the class token kept (method.md, timm before 0.9).
at::Tensor resize_position_embedding(const at::Tensor& from, int64_t tokens) {
  const auto side_of = [](int64_t n) {
    return static_cast<int64_t>(std::llround(std::sqrt(static_cast<double>(n - 1))));
  };
  const int64_t old_side = side_of(from.size(1)), new_side = side_of(tokens), features = from.size(2);
  if (old_side * old_side != from.size(1) - 1 || new_side * new_side != tokens - 1) return from;  // its shape will tell
  const at::Tensor grid = from.slice(1, 1).reshape({1, old_side, old_side, features}).permute({0, 3, 1, 2});
  const at::Tensor resized = at::upsample_bicubic2d(grid.to(at::kDouble), {new_side, new_side}, false);
  const at::Tensor patches = resized.permute({0, 2, 3, 1}).reshape({1, new_side * new_side, features});
  return at::cat({from.slice(1, 0, 1), patches.to(from.scalar_type())}, 1);
}

class Loader {
 public:
  Loader(Backbone& backbone, const io::TensorSource& source, const LoadOptions& options)
      : backbone_(backbone), options_(options), readers_(timm_names(source)) {
    report_.path = source.path();
    report_.format = source.format();
    for (const auto& name : source.names()) left_over_.insert(name);
  }

  LoadReport run() {
    std::vector<std::string> missing;
    for (auto& [name, tensor] : backbone_.published()) {
      if (is_head(name) && !options_.load_head) continue;
      const auto reader = readers_.find(name);
      if (reader == readers_.end()) {
        missing.push_back(name);
        continue;
      }
      for (const auto& used : reader->second.file_names) left_over_.erase(used);
      copy(name, reader->second.read(), tensor);
    }
    for (const auto& [name, reader] : readers_) {
      if (!is_head(name)) continue;
      for (const auto& file_name : reader.file_names) ignore(file_name);
    }
    std::vector<std::string> unexpected(left_over_.begin(), left_over_.end());
    std::erase_if(unexpected, [&](const std::string& name) { return name.find("pre_logits/") != std::string::npos; });
    if (!missing.empty() || !unexpected.empty()) fail(missing, unexpected);
    return std::move(report_);
  }

 private:
  bool is_head(const std::string& name) const {
    return name.starts_with(backbone_.head_name() + ".") || name.starts_with("pre_logits");
  }

  void ignore(const std::string& file_name) {
    if (left_over_.erase(file_name) > 0) report_.ignored.push_back(file_name);
  }

  void copy(const std::string& name, at::Tensor from, at::Tensor& to) {
    if (name == "pos_embed" && from.dim() == 3 && from.size(1) != to.size(1)) {
      from = resize_position_embedding(from, to.size(1));
      report_.resized.push_back(name);
    }
    // A matrix that the file keeps as a 1 x 1 convolution.
    if (from.dim() == 4 && to.dim() == 2 && from.size(2) == 1 && from.size(3) == 1) from = from.flatten(1);
    if (from.sizes() != to.sizes()) {
      throw core::WeightsError(core::str(report_.path, ": ", name, " has the shape ", from.sizes(),
                                         ", this backbone needs ", to.sizes(),
                                         ". Choose the backbone that the file was made for."));
    }
    at::NoGradGuard no_grad;
    to.copy_(from);
    report_.loaded.push_back(name);
  }

  [[noreturn]] void fail(const std::vector<std::string>& missing, const std::vector<std::string>& unexpected) const {
    std::string message = core::str(report_.path, " (", report_.format, ") does not fit this backbone.");
    if (!missing.empty()) message += core::str(" It lacks: ", preview(missing), ".");
    if (!unexpected.empty()) message += core::str(" It holds what the backbone has not: ", preview(unexpected), ".");
    throw core::WeightsError(message + " Choose the backbone that the file was made for.");
  }

  Backbone& backbone_;
  LoadOptions options_;
  ReaderMap readers_;
  std::set<std::string> left_over_;
  LoadReport report_;
};

}  // namespace

std::string LoadReport::text() const {
  std::string out = core::str("loaded ", loaded.size(), " tensors from ", path, " (", format, ")");
  if (!resized.empty()) out += core::str("; resized ", core::join(resized));
  if (!ignored.empty()) out += core::str("; ignored ", preview(ignored));
  return out;
}

LoadReport load_weights(Backbone& backbone, const io::TensorSource& source, const LoadOptions& options) {
  return Loader(backbone, source, options).run();
}

at::Tensor to_tensor(const io::HostTensor& host) {
  // from_blob wants a mutable pointer; nothing writes through the tensor.
  auto* data = const_cast<std::byte*>(host.bytes.data());
  return at::from_blob(
      data, host.shape, [keep = host.keep_alive](void*) {}, at::TensorOptions(scalar_type(host.dtype)));
}

}  // namespace snell::nn
