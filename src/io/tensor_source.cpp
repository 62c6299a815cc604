#include "snell/io/tensor_source.h"

#include <algorithm>
#include <filesystem>

#include "formats.h"
#include "snell/core/error.h"
#include "snell/io/files.h"

namespace snell::io {

using core::str;

constexpr const char* kRead = "safetensors (whole or sharded), .npz and torch.save's files";

void check_bools(const HostTensor& tensor, const std::string& path, const std::string& name) {
  if (tensor.dtype != DType::kBool) return;
  if (std::any_of(tensor.bytes.begin(), tensor.bytes.end(), [](std::byte b) { return b > std::byte{1}; })) {
    raise_weights_error(str("'", path, "': the BOOL tensor '", printable(name), "' holds a byte other than 0 and 1; ",
                            "the file is damaged, fetch it again"));
  }
}

void raise_unknown_tensor(const TensorSource& source, const std::string& name) {
  const std::vector<std::string> names = source.names();
  const std::string near = core::nearest_match(name, names);
  raise_weights_error(str("'", source.path(), "' has no tensor '", printable(name), "' among its ", names.size(),
                          near.empty() ? "" : str("; the nearest name is '", printable(near), "'")));
}

std::optional<HostTensor> TensorSource::in_place(const std::string& name) const {
  describe(name);
  return std::nullopt;
}

void TensorSource::check_unchanged(const std::string& name) const {
  describe(name);
}

void TensorSource::verify() const {
  for (const std::string& name : names()) read(name);
}

std::unique_ptr<TensorSource> open_tensors(const FileBytes& file) {
  const std::string_view text(reinterpret_cast<const char*>(file.bytes.data()), file.bytes.size());
  // Before the others: a header's length can have their first bytes, and none of them has a brace behind a number.
  const bool brace = text.size() > 8 && text[8] == '{';
  if (brace && number_at<uint64_t>(file.bytes, 0) < (1u << 30)) return open_safetensors(file);
  if (text.starts_with("PK\x03\x04") || text.starts_with("PK\x05\x06")) {
    auto zip = std::make_shared<const ZipFile>(file);
    const bool torch = std::any_of(zip->entries().begin(), zip->entries().end(), is_torch_pickle);
    return torch ? open_torch_zip(std::move(zip)) : open_npz(std::move(zip));
  }
  if (text.starts_with("\x80")) return open_torch_legacy(file);
  if (text.starts_with("\x89HDF\r\n\x1a\n")) {
    raise_weights_error(str("'", file.path, "' is an HDF5 file; weights are read from ", kRead));
  }
  if (text.starts_with('{')) return open_safetensors_index(file);
  if (brace) return open_safetensors(file);  // of an impossible length: refused there
  raise_weights_error(str("'", file.path, "' is of none of the formats that weights are read from (", kRead,
                          "), by its first bytes; it may be cut off"));
}

std::unique_ptr<TensorSource> open_tensors(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::is_directory(path, error)) return open_tensors(FileBytes::map(path));
  for (const char* name : {"model.safetensors", "model.safetensors.index.json"}) {
    const std::string inside = (std::filesystem::path(path) / name).string();
    if (std::filesystem::exists(inside, error)) return open_tensors(FileBytes::map(inside));
  }
  raise_weights_error(str("'", path, "' is a folder without model.safetensors and model.safetensors.index.json"));
}

}  // namespace snell::io
