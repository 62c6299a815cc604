#include "snell/nn/load_weights.h"

#include <fnmatch.h>

#include <algorithm>
#include <set>

#include "resize.h"
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

class Loader {
 public:
  Loader(Backbone& backbone, const io::TensorSource& source, const LoadOptions& options)
      : backbone_(backbone), options_(options), names_(timm_names(source)) {
    report_.path = source.path();
    report_.format = source.format();
    report_.old_convnext = names_.old_convnext;
    for (const auto& name : source.names()) left_over_.insert(name);
  }

  LoadReport run() {
    for (auto& [name, tensor] : backbone_.published()) {
      if (!is_head(name) || options_.load_head) load(name, tensor);
    }
    // A file without any adapter leaves them at their start values; one with some must fit.
    if (std::ranges::any_of(names_.readers, [](const auto& entry) { return is_adapter(entry.first); })) {
      for (auto& [name, tensor] : backbone_.adapters()) load(name, tensor);
    }
    for (const auto& [file_name, why] : names_.ignored) ignore(file_name, why);
    for (const auto& [name, reader] : names_.readers) {
      const bool head = is_head(name);
      if (!head && !name.starts_with("pre_logits.")) continue;
      for (const auto& file_name : reader.file_names) ignore(file_name, head ? "the head" : "no such layer here");
    }
    for (const auto& file_name : std::set<std::string>(left_over_)) {
      if (allowed(file_name, options_.allow_unexpected)) ignore(file_name, "allowed by backbone.allow_unexpected");
    }
    if (!missing_.empty() || !left_over_.empty()) fail();
    return std::move(report_);
  }

 private:
  bool is_head(const std::string& name) const { return name.starts_with(backbone_.head_name() + "."); }
  // Of a frozen weight whose storage looked into the file already.
  bool has_value(const std::string& name) const {
    const auto* stored = backbone_.storage() == nullptr ? nullptr : backbone_.storage()->find(name);
    return stored != nullptr && stored->has_value();
  }
  static bool is_adapter(const std::string& name) { return name.find(".additional_") != std::string::npos; }
  static bool allowed(const std::string& name, const std::vector<std::string>& patterns) {
    return std::ranges::any_of(
        patterns, [&](const std::string& pattern) { return fnmatch(pattern.c_str(), name.c_str(), 0) == 0; });
  }

  void ignore(const std::string& file_name, const std::string& why) {
    if (left_over_.erase(file_name) > 0) report_.tensors.push_back({LoadAction::kIgnored, file_name, why});
  }

  void load(const std::string& name, at::Tensor& to) {
    const auto reader = names_.readers.find(name);
    if (reader != names_.readers.end()) {
      for (const auto& used : reader->second.file_names) left_over_.erase(used);
      if (has_value(name)) {
        const std::string& file_name = reader->second.file_names.front();
        report_.tensors.push_back({LoadAction::kMapped, name, file_name == name ? "" : file_name});
      } else {
        copy(name, reader->second, to);
      }
    } else if (allowed(name, options_.allow_missing)) {
      report_.tensors.push_back({LoadAction::kMissing, name, "allowed by backbone.allow_missing"});
    } else {
      missing_.push_back(name);
    }
  }

  // Layouts are changed by operations that throw LibTorch's error for a tensor of too few or odd dimensions.
  void copy(const std::string& name, const NamedReader& reader, at::Tensor& to) {
    try {
      copy_fitting(name, reader, to);
    } catch (const c10::Error& error) {
      throw core::WeightsError(core::str(report_.path, ": ", core::join(reader.file_names), " cannot be made into ",
                                         name, " ", to.sizes(), ": ", error.what_without_backtrace(),
                                         ". Choose the backbone that the file was made for."));
    }
  }

  void copy_fitting(const std::string& name, const NamedReader& reader, at::Tensor& to) {
    at::Tensor from = reader.read();
    LoadedTensor row{LoadAction::kLoaded, name, {}};
    if (reader.file_names != std::vector<std::string>{name} || from.scalar_type() != to.scalar_type()) {
      row.action = LoadAction::kConverted;
      row.note = core::join(reader.file_names) +
                 (from.scalar_type() == to.scalar_type() ? "" : core::str(" (", from.scalar_type(), ")"));
    }
    if (at::Tensor resized = fit(name, from, to); !resized.is_same(from)) {
      row.action = LoadAction::kResized;
      row.note = core::str(from.sizes(), " -> ", resized.sizes());
      from = resized;
    }
    // A matrix that the file keeps as a 1 x 1 convolution.
    if (from.dim() == 4 && to.dim() == 2 && from.size(2) == 1 && from.size(3) == 1) from = from.flatten(1);
    if (from.sizes() != to.sizes() || !from.is_floating_point()) {
      throw core::WeightsError(core::str(report_.path, ": ", name, source_of(name, reader), " is ", from.scalar_type(),
                                         " ", from.sizes(), ", this backbone needs ", to.scalar_type(), " ", to.sizes(),
                                         ". Choose the backbone that the file was made for."));
    }
    backbone_.set_value({name, to}, from);
    report_.tensors.push_back(std::move(row));
  }

  static std::string source_of(const std::string& name, const NamedReader& reader) {
    const std::string files = core::join(reader.file_names);
    return files == name ? "" : core::str(" (from ", files, ")");
  }

  at::Tensor fit(const std::string& name, const at::Tensor& from, const at::Tensor& to) const {
    if (from.sizes() == to.sizes() || !from.is_floating_point()) return from;
    if (name == "pos_embed") return resize_position_embedding(from, to.size(1), backbone_.pos_embed_prefix_tokens());
    if (name.ends_with(".relative_position_bias_table")) return resize_bias_table(from, to.size(0));
    return from;
  }

  [[noreturn]] void fail() const {
    const std::vector<std::string> unexpected(left_over_.begin(), left_over_.end());
    std::string message = core::str(report_.path, " (", report_.format, ") does not fit this backbone.");
    if (!missing_.empty()) message += core::str(" It lacks: ", preview(missing_), ".");
    if (!unexpected.empty()) message += core::str(" It holds what the backbone has not: ", preview(unexpected), ".");
    const bool has_adapters = std::ranges::any_of(unexpected, is_adapter);
    throw core::WeightsError(
        message + (has_adapters ? " Choose the adapter, rank and targets that the file was trained with."
                                : " Choose the backbone that the file was made for, or allow these names with "
                                  "backbone.allow_missing or backbone.allow_unexpected."));
  }

  Backbone& backbone_;
  LoadOptions options_;
  WeightNames names_;
  std::set<std::string> left_over_;
  std::vector<std::string> missing_;
  LoadReport report_;
};

}  // namespace

LoadReport load_weights(Backbone& backbone, const io::TensorSource& source, const LoadOptions& options) {
  return Loader(backbone, source, options).run();
}

std::vector<TimmTensor> timm_tensors(const io::TensorSource& source) {
  std::vector<TimmTensor> out;
  for (auto& [name, reader] : timm_names(source).readers) {
    out.push_back({name, reader.file_names, reader.as_it_is, reader.read});
  }
  return out;
}

at::Tensor to_tensor(const io::HostTensor& host) {
  // from_blob wants a mutable pointer; nothing writes through the tensor.
  auto* data = const_cast<std::byte*>(host.bytes.data());
  return at::from_blob(
      data, host.shape, [keep = host.keep_alive](void*) {}, at::TensorOptions(scalar_type(host.dtype)));
}

}  // namespace snell::nn
