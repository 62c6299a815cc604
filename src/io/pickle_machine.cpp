// A stack machine as Lib/pickle.py has one, which makes nodes and never an object.
#include <algorithm>
#include <optional>
#include <unordered_map>
#include <utility>

#include "file_bytes.h"
#include "pickle_names.h"
#include "pickle_opcodes.h"
#include "pickle_value.h"
#include "snell/core/text.h"
#include "snell/io/files.h"

namespace snell::io {

using core::str;

namespace {

constexpr size_t kMaxDepth = 256, kMaxNodes = 400'000, kMaxMemo = 400'000, kMaxPushes = 2'000'000;

class Machine {
 public:
  Machine(std::span<const std::byte> bytes, const std::string& path) : bytes_(bytes), path_(path) {}

  Pickle run() {
    if (number<uint8_t>() != kProto) refuse("does not start as a pickle");
    position_ = 0;
    while (!stopped_) {
      opcode_at_ = position_;
      step(number<uint8_t>());
    }
    pickle_.length = position_;
    return std::move(pickle_);
  }

 private:
  [[noreturn]] void refuse(const std::string& what) const {
    raise_weights_error(str("'", path_, "': its pickle ", what, " (at byte ", opcode_at_,
                            "); the file is damaged or not one of torch.save, fetch or write it again"));
  }

  // --- reading ---
  std::string_view take(uint64_t size) {
    if (size > bytes_.size() - position_) refuse("is cut off");
    const auto* begin = reinterpret_cast<const char*>(bytes_.data()) + position_;
    position_ += size;
    return {begin, size};
  }

  template <class T>
  T number() {
    return number_at<T>(std::as_bytes(std::span(take(sizeof(T)))), 0);
  }

  std::string_view line() {
    const std::string_view rest(reinterpret_cast<const char*>(bytes_.data()) + position_, bytes_.size() - position_);
    const size_t end = rest.find('\n');
    if (end == std::string_view::npos) refuse("is cut off");
    position_ += end + 1;
    return rest.substr(0, end);
  }

  // --- stack ---
  void push(PickleId id) {
    if (++pushes_ > kMaxPushes) refuse(str("has more than ", kMaxPushes, " values"));
    stack_.push_back(id);
  }

  PickleId make(PickleKind kind, int64_t value = 0, std::string_view text = {}) {
    if (pickle_.nodes.size() == kMaxNodes) refuse(str("has more than ", kMaxNodes, " nodes"));
    pickle_.nodes.emplace_back();
    pickle_.nodes.back().kind = kind;
    pickle_.nodes.back().number = value;
    pickle_.nodes.back().text = text;
    return static_cast<PickleId>(pickle_.nodes.size() - 1);
  }
  void push_new(PickleKind kind, int64_t value = 0, std::string_view text = {}) { push(make(kind, value, text)); }

  // Small numbers are most of a state dict's nodes and can be shared: nothing changes a node of theirs.
  void push_int(int64_t value) {
    if (value < 0 || value > 255) return push_new(PickleKind::kInt, value);
    std::optional<PickleId>& known = small_ints_[static_cast<size_t>(value)];
    if (!known) known = make(PickleKind::kInt, value);
    push(*known);
  }

  void push_long(std::string_view digits) {
    if (digits.size() > 8) return push_new(PickleKind::kBigInt, 0, digits);
    uint64_t value = 0;
    for (size_t i = digits.size(); i-- > 0;) value = value << 8 | static_cast<uint8_t>(digits[i]);
    const size_t unused = 64 - 8 * digits.size();  // the top bit of the last byte is the sign
    push_int(digits.empty() ? 0 : static_cast<int64_t>(value << unused) >> unused);
  }

  size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }

  PickleId pop() {
    if (stack_.size() <= floor()) refuse("takes from an empty stack");
    const PickleId id = stack_.back();
    stack_.pop_back();
    return id;
  }

  PickleId top() const {
    if (stack_.size() <= floor()) refuse("takes from an empty stack");
    return stack_.back();
  }

  std::vector<PickleId> pop_count(size_t count) {
    if (stack_.size() - floor() < count) refuse("takes from an empty stack");
    std::vector<PickleId> items(stack_.end() - static_cast<std::ptrdiff_t>(count), stack_.end());
    stack_.resize(stack_.size() - count);
    return items;
  }

  std::vector<PickleId> pop_to_mark() {
    if (marks_.empty()) refuse("has no mark where one is needed");
    std::vector<PickleId> items = pop_count(stack_.size() - floor());
    marks_.pop_back();
    return items;
  }

  // --- building nodes ---
  void deepen(PickleNode& parent, std::span<const PickleId> children) {
    for (PickleId child : children) {
      // A container that holds itself is as deep as it was.
      if (&pickle_.nodes[child] != &parent) {
        parent.depth = std::max<uint16_t>(parent.depth, static_cast<uint16_t>(pickle_.nodes[child].depth + 1));
      }
    }
    if (parent.depth > kMaxDepth) refuse(str("nests deeper than ", kMaxDepth, " levels"));
  }

  PickleId make_of(PickleKind kind, std::vector<PickleId> items) {
    const PickleId id = make(kind);
    PickleNode& node = pickle_.nodes[id];
    deepen(node, items);
    node.items = std::move(items);
    return id;
  }
  void push_of(PickleKind kind, std::vector<PickleId> items) { push(make_of(kind, std::move(items))); }

  void append(std::span<const PickleId> items) {
    PickleNode& target = pickle_.nodes[top()];
    if (target.kind == PickleKind::kObject) return;  // opaque: what it holds does not matter
    if (target.kind != PickleKind::kList) refuse("appends to what is not a list");
    deepen(target, items);
    target.items.insert(target.items.end(), items.begin(), items.end());
  }

  void set_items(std::span<const PickleId> items) {
    PickleNode& target = pickle_.nodes[top()];
    if (target.kind != PickleKind::kDict) refuse("sets items of what is not a dictionary");
    if (items.size() % 2 != 0) refuse("sets a key without a value");
    deepen(target, items);
    target.items.insert(target.items.end(), items.begin(), items.end());
  }

  void build() {
    pop();  // the attributes: of a dictionary (torch's _metadata) or an opaque object, neither of which is looked at
    const PickleKind kind = pickle_.nodes[top()].kind;
    if (kind != PickleKind::kDict && kind != PickleKind::kObject) refuse("sets attributes of a plain value");
  }

  void global(std::string_view module, std::string_view name) {
    const PickleId module_id = make(PickleKind::kText, 0, module);
    push_of(PickleKind::kGlobal, {module_id, make(PickleKind::kText, 0, name)});
  }

  void stack_global() {
    const PickleId name = pop(), module = pop();
    if (!pickle_.is(name, PickleKind::kText) || !pickle_.is(module, PickleKind::kText)) {
      refuse("names a class by something else than text");
    }
    push_of(PickleKind::kGlobal, {module, name});
  }

  // REDUCE, NEWOBJ and NEWOBJ_EX: a callable with its arguments.
  void call(PickleId callable, PickleId arguments) {
    if (!pickle_.is(callable, PickleKind::kGlobal)) refuse("calls something that is not the name of a class");
    if (!pickle_.is(arguments, PickleKind::kTuple)) refuse("calls something without a tuple of arguments");
    const std::string name = pickle_.global_name(callable);
    switch (pickle_call(name)) {
      case PickleCall::kDict:
        return push_of(PickleKind::kDict, pairs_of(arguments));
      case PickleCall::kOpaque:
        return push_of(PickleKind::kObject, {callable, arguments});
      case PickleCall::kRefused:
        raise_weights_error(str(
            "'", path_, "' asks to run '", printable(name), "', which is not part of a file of weights: refused, and ",
            "nothing of it was run. Do not open it elsewhere unless you trust whoever made it; then load it in Python ",
            "and save only the tensors, torch.save(model.state_dict(), FILE)"));
    }
  }

  // Python 2 wrote OrderedDict([[key, value], ...]).
  std::vector<PickleId> pairs_of(PickleId arguments) const {
    std::vector<PickleId> pairs;
    const auto& items = pickle_.nodes[arguments].items;
    if (items.size() != 1 || !pickle_.is(items[0], PickleKind::kList)) return pairs;
    for (const PickleId pair : pickle_.nodes[items[0]].items) {
      const PickleNode& node = pickle_.nodes[pair];
      if ((node.kind != PickleKind::kList && node.kind != PickleKind::kTuple) || node.items.size() != 2) {
        refuse("makes a dictionary of what are not pairs");
      }
      pairs.insert(pairs.end(), node.items.begin(), node.items.end());
    }
    return pairs;
  }

  void put(uint32_t index) {
    if (memo_.size() == kMaxMemo) refuse(str("remembers more than ", kMaxMemo, " values"));
    memo_[index] = top();
  }

  void get(uint32_t index) {
    const auto found = memo_.find(index);
    if (found == memo_.end()) refuse("recalls a value that it did not remember");
    push(found->second);
  }

  // --- opcodes, by what they make ---
  void step(uint8_t opcode) {
    if (!step_value(opcode) && !step_container(opcode) && !step_control(opcode)) {
      refuse(str("uses the opcode ", int{opcode}, ", which torch.save does not write"));
    }
  }

  bool step_value(uint8_t opcode) {
    switch (opcode) {
      case kNoneOp:
        return push_new(PickleKind::kNone), true;
      case kNewTrue:
      case kNewFalse:
        return push_new(PickleKind::kBool, opcode == kNewTrue), true;
      case kBinInt:
        return push_int(number<int32_t>()), true;
      case kBinInt1:
        return push_int(number<uint8_t>()), true;
      case kBinInt2:
        return push_int(number<uint16_t>()), true;
      case kLong1:
        return push_long(take(number<uint8_t>())), true;
      case kLong4:
        return push_long(take(number<uint32_t>())), true;
      case kBinFloat:
        return take(8), push_new(PickleKind::kFloat), true;
      case kBinUnicode:
      case kBinString:  // Python 2's str
        return push_new(PickleKind::kText, 0, take(number<uint32_t>())), true;
      case kShortBinUnicode:
      case kShortBinString:
        return push_new(PickleKind::kText, 0, take(number<uint8_t>())), true;
      case kBinUnicode8:
        return push_new(PickleKind::kText, 0, take(number<uint64_t>())), true;
      case kBinBytes:
        return push_new(PickleKind::kBytes, 0, take(number<uint32_t>())), true;
      case kShortBinBytes:
        return push_new(PickleKind::kBytes, 0, take(number<uint8_t>())), true;
      case kBinBytes8:
        return push_new(PickleKind::kBytes, 0, take(number<uint64_t>())), true;
      case kGlobalOp: {
        const std::string_view module = line();
        return global(module, line()), true;
      }
      case kStackGlobal:
        return stack_global(), true;
      default:
        return false;
    }
  }

  bool step_container(uint8_t opcode) {
    switch (opcode) {
      case kEmptyDict:
        return push_new(PickleKind::kDict), true;
      case kEmptyList:
      case kEmptySet:
        return push_new(PickleKind::kList), true;
      case kFrozenSet:
        return push_of(PickleKind::kList, pop_to_mark()), true;
      case kEmptyTuple:
        return push_new(PickleKind::kTuple), true;
      case kTupleOp:
        return push_of(PickleKind::kTuple, pop_to_mark()), true;
      case kTuple1:
      case kTuple2:
      case kTuple3:
        return push_of(PickleKind::kTuple, pop_count(opcode - kTuple1 + 1u)), true;
      case kAppend:
        return append(pop_count(1)), true;
      case kAppends:
      case kAddItems:
        return append(pop_to_mark()), true;
      case kSetItem:
        return set_items(pop_count(2)), true;
      case kSetItems:
        return set_items(pop_to_mark()), true;
      default:
        return false;
    }
  }

  bool step_control(uint8_t opcode) {
    switch (opcode) {
      case kProto: {
        const auto protocol = number<uint8_t>();
        if (protocol < 2 || protocol > 4) refuse(str("has protocol ", int{protocol}, "; 2, 3 and 4 are read"));
        return true;
      }
      case kFrame:
        if (number<uint64_t>() > bytes_.size() - position_) refuse("is cut off");
        return true;
      case kMark:
        if (marks_.size() == kMaxDepth) refuse(str("nests deeper than ", kMaxDepth, " levels"));
        return marks_.push_back(stack_.size()), true;
      case kPop:
        return pop(), true;
      case kPopMark:
        return pop_to_mark(), true;
      case kBinPersId:
        return push_of(PickleKind::kPersistent, pop_count(1)), true;
      case kReduce:
      case kNewObj: {
        const PickleId arguments = pop();
        return call(pop(), arguments), true;
      }
      case kNewObjEx: {
        pop();  // keyword arguments
        const PickleId arguments = pop();
        return call(pop(), arguments), true;
      }
      case kBuild:
        return build(), true;
      case kBinPut:
        return put(number<uint8_t>()), true;
      case kLongBinPut:
        return put(number<uint32_t>()), true;
      case kMemoize:
        return put(static_cast<uint32_t>(memo_.size())), true;
      case kBinGet:
        return get(number<uint8_t>()), true;
      case kLongBinGet:
        return get(number<uint32_t>()), true;
      case kStop:
        pickle_.root = pop();
        if (!stack_.empty() || !marks_.empty()) refuse("ends with values left over");
        return stopped_ = true;
      default:
        return false;
    }
  }

  std::span<const std::byte> bytes_;
  const std::string& path_;
  size_t position_ = 0, opcode_at_ = 0, pushes_ = 0;
  bool stopped_ = false;
  Pickle pickle_;
  std::vector<PickleId> stack_;
  std::vector<size_t> marks_;
  std::unordered_map<uint32_t, PickleId> memo_;
  std::optional<PickleId> small_ints_[256];
};

}  // namespace

std::string Pickle::global_name(PickleId id) const {
  if (is(id, PickleKind::kObject)) id = nodes[id].items[0];
  if (!is(id, PickleKind::kGlobal)) return "";
  const std::vector<PickleId>& parts = nodes[id].items;
  return str(nodes[parts[0]].text, ".", nodes[parts[1]].text);
}

const PickleId* Pickle::find(PickleId dictionary, std::string_view key) const {
  const std::vector<PickleId>& items = nodes[dictionary].items;
  for (size_t i = items.size(); i >= 2; i -= 2) {
    const PickleNode& node = nodes[items[i - 2]];
    if (node.kind == PickleKind::kText && node.text == key) return &items[i - 1];
  }
  return nullptr;
}

Pickle parse_pickle(std::span<const std::byte> bytes, const std::string& path) {
  return Machine(bytes, path).run();
}

}  // namespace snell::io
