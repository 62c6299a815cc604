// A config as a tree: mappings in the order of their file, sequences, typed scalars. Every node remembers where it came
// from, so that an error can say so. Plain values: copying a Node copies its subtree.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace snell::config {

// Where a value was written: "configs/optim/adamw.yaml:3", or "command line: 'optim.lr=1'" (line 0).
struct Origin {
  std::shared_ptr<const std::string> source;
  int line = 0;

  Origin() = default;
  Origin(std::shared_ptr<const std::string> source_name, int line_number)
      : source(std::move(source_name)), line(line_number) {}
  explicit Origin(std::string source_name) : source(std::make_shared<const std::string>(std::move(source_name))) {}
  std::string text() const;
};

// kMissing is the mandatory value `???`: reading it is an error until somebody sets it.
enum class Kind { kNull, kMissing, kBool, kInt, kFloat, kString, kSequence, kMapping };

class Node {
 public:
  struct Entry;

  Node() = default;  // null, from nowhere
  static Node null(Origin origin);
  static Node mapping(Origin origin);
  static Node sequence(Origin origin);
  static Node string(std::string text, Origin origin);
  // A scalar whose type is already known; `text` is as it was written.
  static Node scalar(Kind kind, std::string text, double number, Origin origin);

  Kind kind() const { return kind_; }
  bool is_mapping() const { return kind_ == Kind::kMapping; }
  bool is_sequence() const { return kind_ == Kind::kSequence; }
  bool is_scalar() const { return !is_mapping() && !is_sequence(); }
  bool is_string() const { return kind_ == Kind::kString; }
  const Origin& origin() const { return origin_; }
  void set_origin(Origin origin) { origin_ = std::move(origin); }

  // A scalar as it was written, without quotes ("1_000", "yes"); integers may have any number of digits.
  const std::string& text() const { return text_; }
  // kBool: 0 or 1; kInt and kFloat: the nearest double.
  double number() const { return number_; }
  // A scalar in one spelling a value, which reads back as the same value: "1000", "true", "0.001", "null", "???".
  std::string canonical() const;
  // What an error shows: the canonical scalar (strings in quotes), "a list", "a mapping".
  std::string describe() const;

  // Mappings. find() gives nullptr for an absent key; set() replaces or appends; erase() says whether it was there.
  const std::vector<Entry>& entries() const { return entries_; }
  std::vector<std::string> keys() const;
  const Node* find(std::string_view key) const;
  Node* find(std::string_view key);
  Node& set(std::string key, Node value);
  bool erase(std::string_view key);

  // Sequences.
  const std::vector<Node>& items() const { return items_; }
  Node& item(size_t index) { return items_[index]; }
  void append(Node value) { items_.push_back(std::move(value)); }

  // A mapping's entry, or a sequence's element when `key` is its index; nullptr when there is none.
  const Node* child(std::string_view key) const;
  Node* child(std::string_view key);
  // child() along "a.b.0.c" or "a.b[0].c"; "" is this node itself.
  const Node* select(std::string_view path) const;

  // What a copy of the subtree costs, in bytes or so: the measure of the budgets against alias and interpolation bombs.
  size_t weight() const;
  int depth() const;  // 1 for a scalar

  // The same value: kinds, scalars and order of sequences (not the order of keys, not origins).
  bool operator==(const Node& other) const;

 private:
  Kind kind_ = Kind::kNull;
  std::string text_;
  double number_ = 0;
  std::vector<Node> items_;
  std::vector<Entry> entries_;
  Origin origin_;
};

struct Node::Entry {
  std::string key;
  Node value;
};

// Budgets of a file and of a composed config; beyond them is a ConfigError, not a crash.
inline constexpr int kMaxDepth = 64;
inline constexpr size_t kMaxWeight = size_t{16} << 20;
inline constexpr size_t kMaxEntries = 10'000;  // of one mapping or list
inline constexpr size_t kMaxFileBytes = size_t{1} << 20;

// "a.b[0].c" -> {"a", "b", "0", "c"}. Throws ConfigError for empty parts and unclosed brackets; "" gives {}.
std::vector<std::string> split_path(std::string_view path);

// "optim.lr" from "optim" and "lr"; "lr" when `path` is empty.
std::string join_path(std::string_view path, std::string_view key);

// ". Did you mean 'x'?" or "".
std::string did_you_mean(std::string_view word, std::span<const std::string> candidates);

// Two-space block style, read back as an equal tree; ends with a newline. A literal "${" of a resolved tree is escaped,
// unless the caller shows a tree that is still to be resolved.
std::string to_yaml(const Node& node, bool escape_interpolations = true);
// One line without `indent`; infinities and NaN become strings, `???` the string "???".
std::string to_json(const Node& node, int indent = -1);

}  // namespace snell::config
