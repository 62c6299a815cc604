// torch.save since PyTorch 1.6: a zip archive with NAME/data.pkl, and each storage's bytes in NAME/data/KEY.
#include <memory>

#include "budget.h"
#include "formats.h"
#include "snell/core/text.h"
#include "snell/io/files.h"
#include "torch_source.h"

namespace snell::io {

using core::str;

namespace {

constexpr std::string_view kPickle = "data.pkl";

// "NAME/", from the one entry NAME/data.pkl.
std::string prefix_of(const ZipFile& zip) {
  const ZipEntry* found = nullptr;
  for (const ZipEntry& entry : zip.entries()) {
    if (!is_torch_pickle(entry)) continue;
    if (found != nullptr) zip.refuse(entry, "the archive has two files data.pkl");
    found = &entry;
  }
  return found->name.substr(0, found->name.size() - kPickle.size());
}

void check_byte_order(const ZipFile& zip, const std::string& prefix) {
  const ZipEntry* entry = zip.find(prefix + "byteorder");
  if (entry == nullptr) return;  // torch before 2.1
  const FileBytes content = zip.read(*entry, 64);
  const std::string_view order(reinterpret_cast<const char*>(content.bytes.data()), content.bytes.size());
  if (order != "little") {
    raise_weights_error(str("'", zip.path(), "' holds numbers in the byte order '", printable(order),
                            "'; little-endian files are read, save it again on such a machine"));
  }
}

}  // namespace

bool is_torch_pickle(const ZipEntry& entry) {
  return entry.name == kPickle || entry.name.ends_with("/data.pkl");
}

std::unique_ptr<TensorSource> open_torch_zip(std::shared_ptr<const ZipFile> zip) {
  const std::string prefix = prefix_of(*zip);
  check_byte_order(*zip, prefix);
  TorchContents contents;
  {
    const ZipEntry& entry = *zip->find(prefix + std::string(kPickle));
    const FileBytes content = zip->read(entry, read_budget(zip->file_size()));
    contents = read_torch_contents(parse_pickle(content.bytes, zip->path()), zip->path());
  }
  // The storages' entries, found and measured before anything is read.
  std::vector<const ZipEntry*> entries;
  for (const TorchStorage& storage : contents.storages) {
    const ZipEntry* entry = zip->find(str(prefix, "data/", storage.key));
    if (entry == nullptr) {
      raise_weights_error(str("'", zip->path(), "' lacks the entry '", printable(str(prefix, "data/", storage.key)),
                              "', which its pickle refers to; fetch or write it again"));
    }
    // Tensors can share a storage: unpacking it for each of them could take hours. torch.save never packs one.
    if (entry->deflated) zip->refuse(*entry, "its numbers are packed");
    if (entry->size != storage.bytes) {
      zip->refuse(*entry, str("it has ", entry->size, " bytes, the pickle says ", storage.bytes));
    }
    entries.push_back(entry);
  }
  const auto read_storage = [zip, entries = std::move(entries)](size_t storage) {
    return zip->read(*entries[storage], read_budget(zip->file_size()));
  };
  return make_torch_source(
      {"torch (zip)", zip->path(), zip->file_size(), std::move(contents), read_storage, [zip] { zip->verify(); }});
}

}  // namespace snell::io
