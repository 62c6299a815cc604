// Reading the numbers that the project must be equal to. SNELL_FIXTURES=DIR points the parity tests at another folder
// of the same layout.
#pragma once

#include <gtest/gtest.h>
#include <torch/types.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "snell/io/tensor_source.h"
#include "snell/nn/load_weights.h"

namespace snell::test {

inline std::string fixture_folder() {
  const char* other = std::getenv("SNELL_FIXTURES");
  return other != nullptr ? other : SNELL_SOURCE_DIR "/tests/fixtures";
}

// Files of the folder whose name begins with one of `prefixes`, sorted; fails the test when there is none.
inline std::vector<std::string> fixture_files(const std::vector<std::string>& prefixes) {
  std::vector<std::string> out;
  for (const auto& entry : std::filesystem::directory_iterator(fixture_folder())) {
    const std::string name = entry.path().filename();
    for (const auto& prefix : prefixes) {
      if (name.starts_with(prefix) && name.ends_with(".safetensors")) out.push_back(entry.path());
    }
  }
  std::sort(out.begin(), out.end());
  EXPECT_FALSE(out.empty()) << "no fixtures in " << fixture_folder();
  return out;
}

class Fixture {
 public:
  explicit Fixture(const std::string& path) : source_(io::open_tensors(path)) {}

  std::vector<std::string> names() const { return source_->names(); }
  const io::TensorSource& source() const { return *source_; }
  bool has(const std::string& name) const {
    const auto all = names();
    return std::find(all.begin(), all.end(), name) != all.end();
  }
  // Floating-point tensors in `dtype`, others as they are.
  at::Tensor tensor(const std::string& name, at::ScalarType dtype = at::kDouble) const {
    const at::Tensor raw = nn::to_tensor(source_->read(name));
    return raw.is_floating_point() ? raw.to(dtype).clone() : raw.clone();
  }
  nlohmann::json setting(const std::string& key) const { return nlohmann::json::parse(source_->metadata().at(key)); }
  int64_t number(const std::string& key) const { return setting(key).get<int64_t>(); }

 private:
  std::unique_ptr<io::TensorSource> source_;
};

// max|a − b| / max|b|; the absolute difference where b is zero everywhere.
inline double relative_error(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor x = a.detach().to(at::kDouble), y = b.detach().to(at::kDouble);
  if (x.sizes() != y.sizes()) return std::numeric_limits<double>::infinity();
  if (x.numel() == 0) return 0;
  const double scale = y.abs().max().item<double>();
  const double error = (x - y).abs().max().item<double>();
  return std::isnan(error) ? std::numeric_limits<double>::infinity() : (scale > 0 ? error / scale : error);
}

}  // namespace snell::test

#define EXPECT_RELATIVE(actual, expected, tolerance, what) \
  EXPECT_LE(::snell::test::relative_error((actual), (expected)), (tolerance)) << (what)
