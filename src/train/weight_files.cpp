#include "snell/train/weight_files.h"

#include "snell/ckpt/tensors.h"
#include "snell/nn/load_weights.h"
#include "snell/peft/tuning.h"

namespace snell::train {
namespace {

io::TensorToWrite to_write(const std::string& name, at::ScalarType dtype, at::IntArrayRef shape,
                           std::function<at::Tensor()> make) {
  return {name, ckpt::file_dtype(dtype), shape.vec(),
          [make = std::move(make), dtype] { return ckpt::host_tensor(make().to(dtype)); }};
}

WrittenWeights write(const std::string& path, const std::vector<io::TensorToWrite>& tensors, int64_t converted) {
  io::stream_safetensors(path, tensors, {{"format", "pt"}});  // what Python's readers look for
  WrittenWeights out{std::ssize(tensors), converted, 0};
  for (const auto& tensor : tensors) out.bytes += io::byte_count(tensor.dtype, tensor.shape).value_or(0);
  return out;
}

// Keeps the one value that was set last.
class LastValue : public core::FrozenStorage {
 public:
  at::Tensor take() { return std::move(*value_); }

 protected:
  std::shared_ptr<core::StoredWeight> make(const core::FrozenSpec& spec) override {
    return std::make_shared<Weight>(spec, value_);
  }

 private:
  class Weight : public core::StoredWeight {
   public:
    Weight(const core::FrozenSpec& spec, std::shared_ptr<at::Tensor> value) : spec_(spec), value_(std::move(value)) {}
    void set(const at::Tensor& weight_OI) override { *value_ = weight_OI; }
    int64_t out_features() const override { return spec_.out_features; }
    int64_t in_features() const override { return spec_.in_features; }
    int64_t resident_bytes() const override { return 0; }
    at::Tensor acquire() const override { return *value_; }
    void release() const override {}

   private:
    core::FrozenSpec spec_;
    std::shared_ptr<at::Tensor> value_;
  };
  std::shared_ptr<at::Tensor> value_ = std::make_shared<at::Tensor>();
};

}  // namespace

WrittenWeights convert_weights(const io::TensorSource& source, const std::string& path,
                               std::optional<at::ScalarType> dtype) {
  std::vector<io::TensorToWrite> tensors;
  int64_t converted = 0;
  for (const auto& [name, file_names, as_it_is, read] : nn::timm_tensors(source)) {
    // Shapes of what is laid out anew are known once it is made; it is made again when its turn comes.
    const io::HostTensor first = source.describe(file_names.front());
    const at::Tensor made =
        as_it_is ? at::empty(first.shape, at::TensorOptions(ckpt::scalar_type(first.dtype)).device(at::kMeta)) : read();
    const at::ScalarType type = dtype && made.is_floating_point() ? *dtype : made.scalar_type();
    const bool same = as_it_is && file_names.front() == name && type == made.scalar_type();
    converted += same ? 0 : 1;
    tensors.push_back(to_write(name, type, made.sizes(), read));
  }
  return write(path, tensors, converted);
}

WrittenWeights write_start_weights(const JobConfig& config, const std::string& path) {
  nn::TensorPlace place{compute_dtype(config.run), at::kCPU};
  const auto last = std::make_shared<LastValue>();
  place.storage = last;
  const auto backbone = nn::make_backbone(config.backbone, 1, nn::LinearFactory(false), place);
  std::vector<io::TensorToWrite> tensors;
  for (const auto& [name, tensor] : backbone->published()) {
    if (name.starts_with(backbone->head_name() + ".")) continue;
    // Called when the list of published tensors is gone: copies of what it names.
    const auto make = [&config, &backbone, &last, name = name, tensor = tensor] {
      backbone->init_published(config.seed, [&](const std::string& other) { return other == name; });
      return last->find(name) == nullptr ? tensor : last->take();
    };
    tensors.push_back(to_write(name, tensor.scalar_type(), tensor.sizes(), make));
  }
  return write(path, tensors, 0);
}

}  // namespace snell::train
