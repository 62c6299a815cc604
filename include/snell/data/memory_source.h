// A SampleSource whose samples lie in memory: for tests, and for callers that have their pictures already.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "snell/core/error.h"
#include "snell/data/sample_source.h"

namespace snell::data {

class MemorySource : public SampleSource {
 public:
  explicit MemorySource(std::vector<std::string> class_names) : class_names_(std::move(class_names)) {}

  // Before any reading thread starts.
  void add(Sample sample, int64_t label, std::string name) {
    core::check(label >= 0 && label < num_classes(), core::str("label ", label, " of '", name, "' is out of range"));
    samples_.push_back({std::move(sample), label, std::move(name)});
  }

  int64_t size() const override { return static_cast<int64_t>(samples_.size()); }
  int64_t num_classes() const override { return static_cast<int64_t>(class_names_.size()); }
  const std::vector<std::string>& class_names() const override { return class_names_; }
  int64_t label(int64_t index) const override { return samples_.at(static_cast<size_t>(index)).label; }
  std::string name(int64_t index) const override { return samples_.at(static_cast<size_t>(index)).name; }
  Sample read(int64_t index) const override { return samples_.at(static_cast<size_t>(index)).sample; }

 private:
  struct Entry {
    Sample sample;
    int64_t label;
    std::string name;
  };
  std::vector<std::string> class_names_;
  std::vector<Entry> samples_;
};

}  // namespace snell::data
