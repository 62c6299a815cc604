// Binds a struct to a section of the composed config. The structs own the schema: a module writes one function
//
//   void bind(config::Binder& b, OptimConfig& c) {
//     b.field("lr", c.lr, "peak learning rate", config::positive());
//     b.field("name", c.name, "optimizer", config::one_of({"adamw", "sgd"}));
//     b.section("schedule", c.schedule);            // a nested struct with its own bind()
//   }
//
// and gets reading, defaults, unknown-key errors, ranges, `--help` and the printed config from it. The struct's own
// initialisers are the defaults. Every error is a ConfigError that names the key, the file and line it came from, what
// is allowed and the nearest match.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace snell::config {

// What a value must satisfy besides its type. Made by the functions below.
struct Limits {
  std::optional<double> low, high;  // numbers (and each element of a list of numbers)
  bool low_open = false, high_open = false;
  std::vector<std::string> choices;  // strings (and each element of a list of strings)
  std::string text() const;          // "in (0, 1]", "one of adamw, sgd"; "" when anything goes
};

Limits in_range(double low, double high);  // [low, high]
Limits at_least(double low);               // >= low
Limits positive();                         // > 0
Limits fraction();                         // [0, 1]
Limits one_of(std::vector<std::string> choices);

class Node;  // a node of the composed config with its origin (file, line or command line); config/node.h

// What a struct says of one of its settings: for `--help`'s table and docs/config.md.
struct FieldDoc {
  std::string key;            // "optim.lr"
  std::string type;           // "number", "list of integers", "integer or null", ...
  std::string default_value;  // as YAML: 0.001, [q, k], ""
  std::string doc;
  std::string limits;  // Limits::text()
};

class Binder {
 public:
  // Reads `section` (a mapping), whose full key is `path` ("optim"); "" is the root.
  Binder(const Node& section, std::string path);
  ~Binder();
  Binder(const Binder&) = delete;
  Binder& operator=(const Binder&) = delete;

  void field(std::string_view key, bool& value, std::string_view doc, const Limits& limits = {});
  void field(std::string_view key, int64_t& value, std::string_view doc, const Limits& limits = {});
  void field(std::string_view key, uint64_t& value, std::string_view doc, const Limits& limits = {});
  void field(std::string_view key, double& value, std::string_view doc, const Limits& limits = {});
  void field(std::string_view key, std::string& value, std::string_view doc, const Limits& limits = {});
  void field(std::string_view key, std::optional<int64_t>& value, std::string_view doc, const Limits& limits = {});
  void field(std::string_view key, std::optional<double>& value, std::string_view doc, const Limits& limits = {});
  void field(std::string_view key, std::vector<int64_t>& value, std::string_view doc, const Limits& limits = {});
  void field(std::string_view key, std::vector<double>& value, std::string_view doc, const Limits& limits = {});
  void field(std::string_view key, std::vector<std::string>& value, std::string_view doc, const Limits& limits = {});

  // A nested struct, bound by its own `bind(Binder&, T&)` (found by argument-dependent lookup). Missing: all defaults.
  template <class T>
  void section(std::string_view key, T& value) {
    std::unique_ptr<Binder> inner = enter(key);
    bind(*inner, value);
    inner->finish();
  }

  // A check over several fields: throws ConfigError naming `key` when it does not hold.
  void require(bool holds, std::string_view key, const std::string& message);

  // Throws ConfigError for every key of the section that no field() or section() asked for. A nested section's unknown
  // keys are reported by the outermost finish(): only then is it known whether another section has such a key.
  void finish();

  // A binder over nothing that reads nothing and checks nothing: field() only takes down its documentation.
  static std::unique_ptr<Binder> for_documentation(std::string path);
  // Every field() so far, nested sections included, in the order of the calls.
  const std::vector<FieldDoc>& documentation() const;

 private:
  struct Shared;
  struct State;
  explicit Binder(std::unique_ptr<State> state);
  template <class T>
  void read_field(std::string_view key, T& value, std::string_view doc, const Limits& limits);
  std::unique_ptr<Binder> enter(std::string_view key);
  std::unique_ptr<State> state_;
};

// Binds the whole struct and refuses unknown keys.
template <class T>
void bind_section(const Node& section, const std::string& path, T& value) {
  Binder binder(section, path);
  bind(binder, value);
  binder.finish();
}

// The settings of a struct with their defaults, limits and documentation; `path` as in bind_section.
template <class T>
std::vector<FieldDoc> describe_section(const std::string& path, T value = {}) {
  std::unique_ptr<Binder> binder = Binder::for_documentation(path);
  bind(*binder, value);
  return binder->documentation();
}

}  // namespace snell::config
