// Names to factories. Filled by explicit calls (`register_backbones(registry)`), never by static initialisers: those
// are dropped from static libraries.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "snell/core/error.h"

namespace snell::core {

template <class Factory>
class Registry {
 public:
  // `kind` is the word that errors use: "backbone", "adapter".
  explicit Registry(std::string kind) : kind_(std::move(kind)) {}

  void add(const std::string& name, Factory factory) {
    check(entries_.emplace(name, std::move(factory)).second, str(kind_, " '", name, "' is registered twice"));
  }

  // Throws ConfigError with the known names and the nearest one.
  const Factory& get(const std::string& name) const {
    if (auto found = entries_.find(name); found != entries_.end()) return found->second;
    const auto known = names();
    const auto near = nearest_match(name, known);
    throw ConfigError(str("unknown ", kind_, " '", name, "'; known: ", join(known),
                          near.empty() ? "" : str(". Did you mean '", near, "'?")));
  }

  std::vector<std::string> names() const {
    std::vector<std::string> out;
    for (const auto& entry : entries_) out.push_back(entry.first);
    return out;
  }

 private:
  std::string kind_;
  std::map<std::string, Factory> entries_;
};

}  // namespace snell::core
