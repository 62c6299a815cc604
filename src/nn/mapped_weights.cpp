#include "snell/nn/mapped_weights.h"

#include <atomic>
#include <cstring>
#include <vector>

#include "snell/core/error.h"
#include "snell/io/files.h"
#include "snell/nn/load_weights.h"
#include "weight_names.h"

namespace snell::nn {

using core::WeightsError;

// What the weights of one model share.
struct MappedStorage::File {
  explicit File(const std::string& path) : source(io::open_tensors(path)) {}
  std::unique_ptr<io::TensorSource> source;
  WeightNames names;  // reads from the source
  std::vector<std::span<const std::byte>> in_order;
  std::atomic<int64_t> last_acquired{0};

  // The weight that is likely to come after: the next one on the way forward, the one before on the way back.
  void expect_after(int64_t index) {
    const int64_t next = index + (index >= last_acquired.exchange(index) ? 1 : -1);
    if (next >= 0 && next < std::ssize(in_order)) io::expect_pages(in_order[static_cast<size_t>(next)]);
  }
};

namespace {

const char* setting_of(at::ScalarType dtype) {
  switch (dtype) {
    case at::kDouble:
      return "float64";
    case at::kBFloat16:
      return "bfloat16";
    case at::kHalf:
      return "float16";
    default:
      return "float32";
  }
}

[[noreturn]] void refuse(const std::string& path, const std::string& what, const TensorPlace& place) {
  throw WeightsError(core::str("backbone.frozen_storage=mapped uses weights as they stand in backbone.weights, but ",
                               what, "; `snell weights convert ", path,
                               " NEW.safetensors dtype=", setting_of(place.dtype), "` writes a file that serves"));
}

class MappedWeight : public core::StoredWeight {
 public:
  MappedWeight(std::shared_ptr<MappedStorage::File> file, std::string file_name, at::Tensor weight_OI)
      : file_(std::move(file)),
        file_name_(std::move(file_name)),
        weight_OI_(std::move(weight_OI)),
        index_(std::ssize(file_->in_order)) {
    file_->in_order.emplace_back(static_cast<const std::byte*>(weight_OI_.const_data_ptr()), weight_OI_.nbytes());
  }
  void set(const at::Tensor&) override {
    throw core::Error(core::str(file_name_, " is used where it stands in a file and cannot be set"));
  }
  bool has_value() const override { return true; }
  int64_t out_features() const override { return weight_OI_.size(0); }
  int64_t in_features() const override { return weight_OI_.size(1); }
  int64_t resident_bytes() const override { return 0; }  // none that the system could not drop
  at::Tensor acquire() const override {
    file_->source->check_unchanged(file_name_);
    file_->expect_after(index_);
    return weight_OI_;
  }
  void release() const override { io::give_back_pages(file_->in_order[static_cast<size_t>(index_)]); }

 private:
  std::shared_ptr<MappedStorage::File> file_;
  std::string file_name_;
  at::Tensor weight_OI_;
  int64_t index_;
};

// Shape and type of one that takes no memory: a whole meta tensor that no allocator was asked for.
class PlannedWeight : public core::StoredWeight {
 public:
  PlannedWeight(const core::FrozenSpec& spec, const TensorPlace& place)
      : weight_OI_(at::from_blob(
            &nowhere_, {spec.out_features, spec.in_features}, [](void*) {}, place.options(), place.device)) {}
  void set(const at::Tensor&) override {}
  int64_t out_features() const override { return weight_OI_.size(0); }
  int64_t in_features() const override { return weight_OI_.size(1); }
  int64_t resident_bytes() const override { return 0; }
  at::Tensor acquire() const override { return weight_OI_; }
  void release() const override {}

 private:
  inline static char nowhere_ = 0;  // never read: meta tensors have no numbers
  at::Tensor weight_OI_;
};

}  // namespace

MappedStorage::MappedStorage(const std::string& path, const TensorPlace& place) : place_(place) {
  if (place.device.is_meta()) return;
  if (!place.device.is_cpu()) {
    throw core::ConfigError(
        "backbone.frozen_storage=mapped keeps weights in the machine's memory, which a GPU does not compute from; set "
        "run.device=cpu, or backbone.frozen_storage=int8 or bfloat16");
  }
  file_ = std::make_shared<File>(path);
  const std::string format = file_->source->format();
  if (!format.starts_with("safetensors")) refuse(path, core::str(path, " is a file of the format ", format), place);
  file_->names = timm_names(*file_->source);
}

std::shared_ptr<core::StoredWeight> MappedStorage::make(const core::FrozenSpec& spec) {
  if (file_ == nullptr) return std::make_shared<PlannedWeight>(spec, place_);
  const std::string& path = file_->source->path();
  const auto found = file_->names.readers.find(spec.name);
  if (found == file_->names.readers.end()) {
    throw WeightsError(core::str(path, " lacks ", spec.name, ". Choose the backbone that the file was made for."));
  }
  const NamedReader& reader = found->second;
  if (!reader.as_it_is)
    refuse(path, core::str(spec.name, " is made of ", core::join(reader.file_names), " there"), place_);
  const std::string& name = reader.file_names.front();
  const auto host = file_->source->in_place(name);
  if (!host) refuse(path, core::str(name, " begins there at a byte that is no multiple of its numbers' size"), place_);
  at::Tensor weight_OI = to_tensor(*host);
  // A matrix that the file keeps as a 1 x 1 convolution.
  if (weight_OI.dim() == 4 && weight_OI.size(2) == 1 && weight_OI.size(3) == 1) weight_OI = weight_OI.flatten(1);
  if (weight_OI.sizes() != at::IntArrayRef{spec.out_features, spec.in_features}) {
    throw WeightsError(core::str(path, ": ", name, " is ", weight_OI.sizes(), ", this backbone needs [",
                                 spec.out_features, ", ", spec.in_features,
                                 "]. Choose the backbone that the file was made for."));
  }
  if (weight_OI.scalar_type() != place_.dtype) {
    refuse(path, core::str(name, " is ", weight_OI.scalar_type(), " there, and run.dtype=", setting_of(place_.dtype)),
           place_);
  }
  return std::make_shared<MappedWeight>(file_, name, std::move(weight_OI));
}

}  // namespace snell::nn
