#include "torch_source.h"

#include <utility>

#include "budget.h"
#include "formats.h"
#include "snell/core/error.h"
#include "snell/io/files.h"
#include "strided_copy.h"

namespace snell::io {

using core::str;

namespace {

// Row-major without gaps; the stride of a dimension of one element says nothing.
bool is_contiguous(const TorchTensor& tensor) {
  int64_t expected = 1;
  for (size_t d = tensor.shape.size(); d-- > 0;) {
    if (tensor.shape[d] != 1 && tensor.strides[d] != expected) return false;
    expected *= tensor.shape[d];
  }
  return true;
}

class TorchSource : public TensorSource {
 public:
  explicit TorchSource(TorchFile file) : file_(std::move(file)) {
    for (size_t i = 0; i < file_.contents.tensors.size(); ++i) index_.emplace(file_.contents.tensors[i].name, i);
  }

  const std::string& path() const override { return file_.path; }
  const char* format() const override { return file_.format; }
  const std::map<std::string, std::string>& metadata() const override { return file_.contents.metadata; }
  void verify() const override {
    TensorSource::verify();
    file_.verify();
  }

  std::vector<std::string> names() const override {
    std::vector<std::string> out;
    for (const TorchTensor& tensor : file_.contents.tensors) out.push_back(tensor.name);
    return out;
  }

  HostTensor describe(const std::string& name) const override {
    const TorchTensor& tensor = find(name);
    return {tensor.dtype, tensor.shape, {}, nullptr};
  }

  HostTensor read(const std::string& name) const override {
    const TorchTensor& tensor = find(name);
    const FileBytes storage = file_.read_storage(tensor.storage);
    const auto item = static_cast<size_t>(size_of(tensor.dtype));
    const auto count = static_cast<size_t>(*element_count(tensor.shape));
    HostTensor out{tensor.dtype, tensor.shape, {}, nullptr};
    if (count > 0) {
      const FileBytes rest = storage.part(static_cast<size_t>(tensor.offset) * item,
                                          storage.bytes.size() - static_cast<size_t>(tensor.offset) * item);
      if (is_contiguous(tensor) && reinterpret_cast<uintptr_t>(rest.bytes.data()) % item == 0) {
        const FileBytes view = rest.part(0, count * item);
        out.bytes = view.bytes;
        out.keep_alive = storage.lease();
      } else {
        copy_rows(tensor, rest.bytes, item, count, out);
        storage.give_back();
      }
    }
    check_bools(out, path(), name);
    return out;
  }

 private:
  const TorchTensor& find(const std::string& name) const {
    const auto found = index_.find(name);
    if (found == index_.end()) raise_unknown_tensor(*this, name);
    return file_.contents.tensors[found->second];
  }

  // A view with a stride of zero repeats elements: it can be far larger than the file.
  void copy_rows(const TorchTensor& tensor, std::span<const std::byte> from, size_t item, size_t count,
                 HostTensor& out) const {
    if (count > read_budget(file_.file_size) / item) {
      raise_weights_error(str("'", path(), "': tensor '", printable(tensor.name), "' ", shape_text(tensor.shape),
                              " repeats its elements and needs more memory than a file of ", file_.file_size,
                              " bytes may take; save it after .contiguous()"));
    }
    auto copy = std::make_shared<std::vector<std::byte>>(count * item);
    copy_strided(from, tensor.shape, tensor.strides, item, *copy);
    out.bytes = *copy;
    out.keep_alive = std::move(copy);
  }

  TorchFile file_;
  std::map<std::string, size_t> index_;
};

}  // namespace

std::unique_ptr<TensorSource> make_torch_source(TorchFile file) {
  return std::make_unique<TorchSource>(std::move(file));
}

}  // namespace snell::io
