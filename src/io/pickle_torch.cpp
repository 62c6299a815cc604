// torch/_utils.py's _rebuild_… functions and torch/serialization.py's persistent ids, read instead of run.
#include "pickle_torch.h"

#include <algorithm>
#include <set>

#include "snell/core/text.h"
#include "snell/io/files.h"

namespace snell::io {

using core::str;

namespace {

struct StorageType {
  std::string_view name;  // with "Storage", or torch's dtype
  std::optional<DType> dtype;
  uint64_t item_bytes;
};

constexpr StorageType kStorageTypes[] = {
    {"FloatStorage", DType::kF32, 4}, {"DoubleStorage", DType::kF64, 8},
    {"HalfStorage", DType::kF16, 2},  {"BFloat16Storage", DType::kBF16, 2},
    {"LongStorage", DType::kI64, 8},  {"IntStorage", DType::kI32, 4},
    {"ShortStorage", DType::kI16, 2}, {"CharStorage", DType::kI8, 1},
    {"ByteStorage", DType::kU8, 1},   {"BoolStorage", DType::kBool, 1},
    {"UntypedStorage", {}, 1},        {"ComplexFloatStorage", {}, 8},
    {"ComplexDoubleStorage", {}, 16}, {"QInt8Storage", {}, 1},
    {"QUInt8Storage", {}, 1},         {"QInt32Storage", {}, 4},
    {"QUInt4x2Storage", {}, 1},       {"QUInt2x4Storage", {}, 1},
};

constexpr StorageType kDtypes[] = {
    {"torch.float32", DType::kF32, 4},   {"torch.float64", DType::kF64, 8}, {"torch.float16", DType::kF16, 2},
    {"torch.bfloat16", DType::kBF16, 2}, {"torch.int64", DType::kI64, 8},   {"torch.int32", DType::kI32, 4},
    {"torch.int16", DType::kI16, 2},     {"torch.int8", DType::kI8, 1},     {"torch.uint8", DType::kU8, 1},
    {"torch.bool", DType::kBool, 1},
};

constexpr std::string_view kWrappers[] = {"state_dict_ema", "model_ema", "state_dict", "model"};
constexpr size_t kMaxDimensions = 32, kMaxTensors = 1 << 15;
constexpr uint64_t kMaxRepeats = 8, kFreeBytes = 8 << 20;
constexpr size_t kMaxKey = 256;
constexpr int kMaxWrappings = 8;  // a parameter that wraps a tensor that wraps …

// Names for a message: the first of them, and how many there are.
class NameList {
 public:
  void add(std::string_view name) {
    if (count_++ < 12) text_ += str(text_.empty() ? "" : ", ", printable(name));
  }
  bool empty() const { return count_ == 0; }
  std::string text() const { return count_ > 12 ? str(text_, ", … (", count_, " in all)") : text_; }

 private:
  size_t count_ = 0;
  std::string text_;
};

class Reader {
 public:
  Reader(const Pickle& pickle, const std::string& path) : pickle_(pickle), path_(path) {}

  TorchContents read() {
    for (PickleId id = 0; id < pickle_.nodes.size(); ++id) {
      if (pickle_.is(id, PickleKind::kPersistent)) add_storage(id);
    }
    const std::vector<PickleId>& items = pickle_[find_state_dict()].items;
    NameList others;
    std::set<std::string_view> names;
    for (size_t i = 0; i < items.size(); i += 2) {
      const PickleNode& key = pickle_[items[i]];
      const bool named = key.kind == PickleKind::kText;
      tensor_ = named ? printable(key.text) : "?";
      std::optional<TorchTensor> tensor = read_tensor(items[i + 1], kMaxWrappings);
      if (!tensor) {
        others.add(tensor_);
        continue;
      }
      if (!named) refuse("a tensor of its state dict has a name that is not text");
      tensor->name = key.text;
      if (!names.insert(key.text).second) refuse_tensor("appears twice");
      check_repeats(*tensor);
      if (names.size() > kMaxTensors) refuse(str("its state dict has more than ", kMaxTensors, " tensors"));
      contents_.tensors.push_back(std::move(*tensor));
    }
    if (!others.empty()) contents_.metadata["not_tensors"] = others.text();
    return std::move(contents_);
  }

 private:
  [[noreturn]] void refuse(const std::string& what) const {
    raise_weights_error(str("'", path_, "' is not a sound file of torch.save: ", what, "; fetch or write it again"));
  }
  [[noreturn]] void refuse_tensor(const std::string& what) const { refuse(str("tensor '", tensor_, "' ", what)); }

  // Views may share a storage, but not so often that reading all of them costs many times the file.
  void check_repeats(const TorchTensor& tensor) {
    if (__builtin_add_overflow(view_bytes_, static_cast<uint64_t>(*byte_count(tensor.dtype, tensor.shape)),
                               &view_bytes_) ||
        view_bytes_ / kMaxRepeats > storage_bytes_ + kFreeBytes) {
      refuse_tensor("repeats elements that other tensors hold, as many did before it; save them after .contiguous()");
    }
  }

  // --- the state dict ---
  bool is_tensor(PickleId id) const {
    return pickle_.global_name(id).starts_with("torch._utils._rebuild") ||
           pickle_.global_name(id).starts_with("torch._tensor._rebuild");
  }

  bool holds_tensors(PickleId id) const {
    if (!pickle_.is(id, PickleKind::kDict)) return false;
    const std::vector<PickleId>& items = pickle_[id].items;
    for (size_t i = 1; i < items.size(); i += 2) {
      if (pickle_.is(items[i], PickleKind::kObject) && is_tensor(items[i])) return true;
    }
    return false;
  }

  NameList keys_without(PickleId dictionary, std::string_view left_out) const {
    NameList keys;
    const std::vector<PickleId>& items = pickle_[dictionary].items;
    for (size_t i = 0; i < items.size(); i += 2) {
      const PickleNode& key = pickle_[items[i]];
      if (key.kind == PickleKind::kText && key.text != left_out) keys.add(key.text);
    }
    return keys;
  }

  PickleId find_state_dict() {
    const PickleId top = pickle_.root;
    if (!pickle_.is(top, PickleKind::kDict)) {
      const std::string name = pickle_.global_name(top);
      refuse(str("it holds ", name.empty() ? "no dictionary" : str("a '", printable(name), "'"),
                 " where a state dict is needed (torch.save(model.state_dict(), FILE))"));
    }
    for (const std::string_view wrapper : kWrappers) {
      const PickleId* inner = pickle_.find(top, wrapper);
      if (inner == nullptr || !holds_tensors(*inner)) continue;
      contents_.metadata["wrapper"] = wrapper;
      const NameList others = keys_without(top, wrapper);
      if (!others.empty()) contents_.metadata["other_keys"] = others.text();
      return *inner;
    }
    if (!holds_tensors(top)) {
      const NameList keys = keys_without(top, "");
      refuse(str("no state dict was found in it: neither under ",
                 core::join(std::vector<std::string>(std::begin(kWrappers), std::end(kWrappers))),
                 " nor at its top, which has the keys: ", keys.empty() ? "none" : keys.text()));
    }
    return top;
  }

  // --- storages: ('storage', type, key, location, elements[, view]) ---
  void add_storage(PickleId id) {
    const PickleNode& tuple = pickle_[pickle_[id].items[0]];
    const auto text_at = [&](size_t i) { return pickle_.is(tuple.items[i], PickleKind::kText); };
    if (tuple.kind != PickleKind::kTuple || tuple.items.size() < 5 || !text_at(0) || !text_at(2) ||
        !pickle_.is(tuple.items[4], PickleKind::kInt) || pickle_[tuple.items[0]].text != "storage") {
      refuse("it refers to something outside of its pickle that is not a storage");
    }
    if (tuple.items.size() > 5 && !pickle_.is(tuple.items[5], PickleKind::kNone)) {
      refuse("it has views of storages, as PyTorch wrote them before 0.4; load it there and save it again");
    }
    if (pickle_[tuple.items[2]].text.size() > kMaxKey) {
      refuse(str("it names a storage by a text of more than ", kMaxKey, " bytes"));
    }
    const StorageType type = storage_type(pickle_.global_name(tuple.items[1]));
    const int64_t count = pickle_[tuple.items[4]].number;
    TorchStorage storage{std::string(pickle_[tuple.items[2]].text), type.dtype, type.item_bytes, 0};
    if (count < 0 || __builtin_mul_overflow(static_cast<uint64_t>(count), type.item_bytes, &storage.bytes)) {
      refuse(str("its storage '", printable(storage.key), "' claims ", count, " elements"));
    }
    const auto [found, is_new] = contents_.by_key.emplace(storage.key, contents_.storages.size());
    if (is_new) {
      if (__builtin_add_overflow(storage_bytes_, storage.bytes, &storage_bytes_)) {
        refuse("its storages claim more bytes than there are");
      }
      contents_.storages.push_back(std::move(storage));
    } else if (const TorchStorage& first = contents_.storages[found->second];
               first.bytes != storage.bytes || first.item_bytes != storage.item_bytes || first.dtype != storage.dtype) {
      refuse(str("its storage '", printable(storage.key), "' is described in two ways"));
    }
    storage_of_[id] = found->second;
  }

  StorageType storage_type(std::string_view name) const {
    for (const std::string_view module : {"torch.", "torch.cuda.", "torch.storage."}) {
      if (!name.starts_with(module)) continue;
      for (const StorageType& type : kStorageTypes) {
        if (name.substr(module.size()) == type.name) return type;
      }
    }
    refuse(str("it has a storage of the unknown type '", printable(name), "'"));
  }

  // --- tensors ---
  // Nothing when the node is not a tensor at all.
  std::optional<TorchTensor> read_tensor(PickleId id, int wrappings) const {
    if (!pickle_.is(id, PickleKind::kObject) || !is_tensor(id)) return std::nullopt;
    if (wrappings == 0) refuse_tensor(str("is wrapped more than ", kMaxWrappings, " times"));
    const std::string name = pickle_.global_name(id);
    const std::string_view function = std::string_view(name).substr(name.rfind('.') + 1);
    const std::vector<PickleId>& arguments = pickle_[pickle_[id].items[1]].items;
    if (function == "_rebuild_parameter" || function == "_rebuild_parameter_with_state") {
      if (arguments.empty()) refuse_tensor("is a parameter without a tensor");
      std::optional<TorchTensor> inner = read_tensor(arguments[0], wrappings - 1);
      if (!inner) refuse_tensor("is a parameter without a tensor");
      return inner;
    }
    // A tensor with Python attributes: (function, class, its arguments, attributes).
    if (function == "_rebuild_from_type_v2") {
      if (arguments.size() < 3 || !pickle_.is(arguments[2], PickleKind::kTuple)) refuse_tensor("is incomplete");
      const std::string inner = pickle_.global_name(arguments[0]), type = pickle_.global_name(arguments[1]);
      if (inner != "torch._utils._rebuild_tensor_v2" ||
          (type != "torch.Tensor" && type != "torch.nn.parameter.Parameter")) {
        refuse_tensor(str("is of the kind '", printable(type), "' (", printable(inner), "), which is not supported"));
      }
      return read_plain_tensor("_rebuild_tensor_v2", pickle_[arguments[2]].items);
    }
    return read_plain_tensor(function, arguments);
  }

  // _rebuild_tensor(storage, offset, size, stride), v2 with more behind it that does not matter here, v3 with the dtype
  // as the seventh.
  std::optional<TorchTensor> read_plain_tensor(std::string_view function, std::span<const PickleId> arguments) const {
    const bool v3 = function == "_rebuild_tensor_v3";
    if (!v3 && function != "_rebuild_tensor" && function != "_rebuild_tensor_v2") {
      refuse_tensor(str("is of a kind that is not supported (", printable(function), "); plain dense ones are"));
    }
    if (arguments.size() < (v3 ? 7u : 4u) || !pickle_.is(arguments[0], PickleKind::kPersistent) ||
        !pickle_.is(arguments[1], PickleKind::kInt)) {
      refuse_tensor("is incomplete");
    }
    TorchTensor tensor;
    tensor.storage = storage_of_.at(arguments[0]);
    tensor.offset = pickle_[arguments[1]].number;
    tensor.shape = read_numbers(arguments[2]);
    tensor.strides = read_numbers(arguments[3]);
    const TorchStorage& storage = contents_.storages[tensor.storage];
    const std::optional<DType> dtype = v3 ? dtype_named(pickle_.global_name(arguments[6])) : storage.dtype;
    if (!dtype) {
      refuse_tensor(
          "is of a type that is not supported (complex, quantized, unsigned of several bytes, or of less than a byte); "
          "convert it first");
    }
    tensor.dtype = *dtype;
    check_view(tensor, storage.bytes / static_cast<uint64_t>(size_of(*dtype)));
    return tensor;
  }

  std::optional<DType> dtype_named(std::string_view name) const {
    for (const StorageType& type : kDtypes) {
      if (name == type.name) return type.dtype;
    }
    return std::nullopt;
  }

  // A tuple of whole numbers, or torch.Size(tuple).
  std::vector<int64_t> read_numbers(PickleId id) const {
    if (pickle_.global_name(id) == "torch.Size" && pickle_.is(id, PickleKind::kObject)) {
      const std::vector<PickleId>& arguments = pickle_[pickle_[id].items[1]].items;
      if (arguments.size() != 1) refuse_tensor("has an unreadable shape");
      id = arguments[0];
    }
    const PickleNode& node = pickle_[id];
    if ((node.kind != PickleKind::kTuple && node.kind != PickleKind::kList) || node.items.size() > kMaxDimensions) {
      refuse_tensor(str("has a shape that is not a tuple of at most ", kMaxDimensions, " whole numbers"));
    }
    std::vector<int64_t> out;
    for (const PickleId item : node.items) {
      if (!pickle_.is(item, PickleKind::kInt)) refuse_tensor("has a shape that is not of whole numbers in range");
      out.push_back(pickle_[item].number);
    }
    return out;
  }

  // Its last element must lie inside the storage; strides are never negative in torch.
  void check_view(const TorchTensor& tensor, uint64_t available) const {
    const std::optional<int64_t> count = element_count(tensor.shape);
    if (!count || !byte_count(tensor.dtype, tensor.shape)) {
      refuse_tensor(str("has the impossible shape ", shape_text(tensor.shape)));
    }
    if (tensor.strides.size() != tensor.shape.size()) refuse_tensor("has not as many strides as dimensions");
    int64_t last = tensor.offset;
    bool inside = tensor.offset >= 0;
    for (size_t d = 0; d < tensor.shape.size(); ++d) {
      if (tensor.strides[d] < 0) refuse_tensor(str("has a negative stride, ", tensor.strides[d]));
      int64_t step = 0;
      inside = inside && (*count == 0 || (!__builtin_mul_overflow(tensor.shape[d] - 1, tensor.strides[d], &step) &&
                                          !__builtin_add_overflow(last, step, &last)));
    }
    inside =
        inside && (*count == 0 ? static_cast<uint64_t>(last) <= available : static_cast<uint64_t>(last) < available);
    if (!inside) {
      refuse_tensor(str("lies outside of its storage of ", available, " elements: shape ", shape_text(tensor.shape),
                        ", strides ", shape_text(tensor.strides), ", offset ", tensor.offset));
    }
  }

  const Pickle& pickle_;
  const std::string& path_;
  TorchContents contents_;
  std::map<PickleId, size_t> storage_of_;        // by the persistent node
  uint64_t storage_bytes_ = 0, view_bytes_ = 0;  // of all storages, of the tensors so far
  std::string tensor_;                           // the one being read, for messages
};

}  // namespace

TorchContents read_torch_contents(const Pickle& pickle, const std::string& path) {
  return Reader(pickle, path).read();
}

}  // namespace snell::io
