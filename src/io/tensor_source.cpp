#include "snell/io/tensor_source.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "formats.h"
#include "snell/core/error.h"
#include "snell/io/files.h"

namespace snell::io {

using core::str;

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

std::unique_ptr<TensorSource> open_tensors(const std::string& path) {
  std::array<unsigned char, 9> head = {};
  {
    const std::shared_ptr<const MappedFile> file = MappedFile::open(path, raise_weights_error);
    std::memcpy(head.data(), file->bytes().data(), std::min(head.size(), file->bytes().size()));
  }
  const std::string_view text(reinterpret_cast<const char*>(head.data()), head.size());
  if (text.starts_with("PK\x03\x04") || text.starts_with("PK\x05\x06")) return open_npz(path);
  if (head[8] == '{') return open_safetensors(path);
  if (text.starts_with("\x89HDF\r\n\x1a\n")) {
    raise_weights_error(str("'", path, "' is an HDF5 file; weights are read from .safetensors and .npz files"));
  }
  if (head[0] == 0x80) {
    raise_weights_error(str("'", path,
                            "' is a Python pickle, as torch.save writes; weights are read from .safetensors ",
                            "and .npz files: save it again with safetensors.torch.save_file"));
  }
  raise_weights_error(str("'", path, "' is neither a .safetensors nor an .npz file (by its first bytes); ",
                          "it may be cut off or of another format"));
}

}  // namespace snell::io
