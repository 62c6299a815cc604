// torch.save before PyTorch 1.6: five pickles (a magic number, the protocol's version, facts about the machine, the
// object, the storages' keys), then for each key an int64 count and the elements.
#include <algorithm>

#include "budget.h"
#include "formats.h"
#include "snell/core/text.h"
#include "snell/io/files.h"
#include "torch_source.h"

namespace snell::io {

using core::str;

namespace {

constexpr std::string_view kMagic("\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 10);  // 0x1950a86a20f9469cfc6c
constexpr int64_t kProtocol = 1001;

class Parser {
 public:
  explicit Parser(const FileBytes& file) : file_(file) {}

  std::unique_ptr<TensorSource> parse() {
    check_start();
    TorchContents contents;
    {
      const Pickle object = next_pickle();
      contents = read_torch_contents(object, file_.path);
    }
    std::vector<FileBytes> storages = find_storages(contents);
    const auto read_storage = [storages = std::move(storages)](size_t i) { return storages[i]; };
    return make_torch_source(
        {"torch (legacy)", file_.path, file_.bytes.size(), std::move(contents), read_storage, [] {}});
  }

 private:
  [[noreturn]] void refuse(const std::string& what) const {
    raise_weights_error(str("'", file_.path, "' is not a sound file of torch.save (the layout before PyTorch 1.6): ",
                            what, "; fetch or write it again"));
  }

  Pickle next_pickle() {
    Pickle pickle = parse_pickle(file_.bytes.subspan(position_), file_.path);
    position_ += pickle.length;
    return pickle;
  }

  void check_start() {
    check_magic();
    check_version();
    const Pickle machine = next_pickle();
    const PickleId* little =
        machine.is(machine.root, PickleKind::kDict) ? machine.find(machine.root, "little_endian") : nullptr;
    if (little == nullptr || !machine.is(*little, PickleKind::kBool)) refuse("it does not tell its byte order");
    if (machine[*little].number == 0) refuse("it is big-endian; save it again on a little-endian machine");
  }

  void check_magic() {
    const Pickle magic = next_pickle();
    if (magic.is(magic.root, PickleKind::kBigInt) && magic[magic.root].text == kMagic) return;
    raise_weights_error(str("'", file_.path, "' is a Python pickle, but not one of torch.save; save the tensors with ",
                            "torch.save(model.state_dict(), FILE)"));
  }

  void check_version() {
    const Pickle version = next_pickle();
    if (!version.is(version.root, PickleKind::kInt) || version[version.root].number != kProtocol) {
      refuse(str("its version is not ", kProtocol));
    }
  }

  // The storages' bytes, in the order of contents.storages.
  std::vector<FileBytes> find_storages(const TorchContents& contents) {
    const Pickle keys = next_pickle();
    if (!keys.is(keys.root, PickleKind::kList)) refuse("its list of storages is missing");
    std::vector<FileBytes> out(contents.storages.size());
    std::vector<bool> seen(contents.storages.size(), false);
    for (const PickleId id : keys[keys.root].items) {
      const std::string_view key = keys[id].text;
      const auto found = contents.by_key.find(key);
      if (!keys.is(id, PickleKind::kText) || found == contents.by_key.end() || seen[found->second]) {
        refuse(str("its list of storages has an unknown or repeated key '", printable(key), "'"));
      }
      seen[found->second] = true;
      out[found->second] = next_storage(contents.storages[found->second]);
    }
    if (std::find(seen.begin(), seen.end(), false) != seen.end()) refuse("a storage is missing in its list");
    if (position_ != file_.bytes.size()) {
      refuse(str(file_.bytes.size() - position_, " bytes follow its last storage"));
    }
    return out;
  }

  FileBytes next_storage(const TorchStorage& storage) {
    const std::string name = str("storage '", printable(storage.key), "'");
    const size_t left = file_.bytes.size() - position_;
    if (left < sizeof(uint64_t) || left - sizeof(uint64_t) < storage.bytes) {
      refuse(str("it is cut off in ", name, ", which has ", storage.bytes, " bytes"));
    }
    const auto count = number_at<uint64_t>(file_.bytes, position_);
    if (count != storage.bytes / storage.item_bytes) {
      refuse(str(name, " has ", count, " elements, its pickle says ", storage.bytes / storage.item_bytes));
    }
    position_ += sizeof count;
    const size_t begin = position_;
    position_ += storage.bytes;
    return file_.part(begin, storage.bytes);
  }

  const FileBytes& file_;
  size_t position_ = 0;
};

}  // namespace

std::unique_ptr<TensorSource> open_torch_legacy(const FileBytes& file) {
  return Parser(file).parse();
}

}  // namespace snell::io
