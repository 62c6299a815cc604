// Part of a weight file as if it were a file: tensors whose name begins with a prefix, without it, and some of them
// left out or replaced.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "snell/core/error.h"
#include "snell/io/tensor_source.h"

namespace snell::test {

class RenamedSource : public io::TensorSource {
 public:
  RenamedSource(const io::TensorSource& source, const std::string& prefix) : source_(source) {
    for (const auto& name : source.names()) {
      if (name.starts_with(prefix)) names_.emplace_back(name.substr(prefix.size()), name);
    }
  }
  // From now on `name` is called `other`; empty: it is not there.
  void rename(const std::string& name, const std::string& other) {
    for (auto& entry : names_) {
      if (entry.first == name) entry.first = other;
    }
    if (other.empty()) std::erase_if(names_, [](const auto& entry) { return entry.first.empty(); });
  }
  void prefix_all(const std::string& prefix) {
    for (auto& entry : names_) entry.first = prefix + entry.first;
  }
  void add(const std::string& name, const std::string& source_name) { names_.emplace_back(name, source_name); }

  const std::string& path() const override { return source_.path(); }
  const char* format() const override { return source_.format(); }
  std::vector<std::string> names() const override {
    std::vector<std::string> out;
    for (const auto& [name, source_name] : names_) out.push_back(name);
    return out;
  }
  io::HostTensor describe(const std::string& name) const override { return source_.describe(find(name)); }
  io::HostTensor read(const std::string& name) const override { return source_.read(find(name)); }
  const std::map<std::string, std::string>& metadata() const override { return source_.metadata(); }

 private:
  const std::string& find(const std::string& name) const {
    for (const auto& [ours, theirs] : names_) {
      if (ours == name) return theirs;
    }
    throw core::WeightsError("no tensor " + name);
  }
  const io::TensorSource& source_;
  std::vector<std::pair<std::string, std::string>> names_;  // here, in the source
};

}  // namespace snell::test
