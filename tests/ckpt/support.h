// What the checkpoint tests share: ranks as threads, states with a tensor of every type, folders that go away.
#pragma once

#include <ATen/core/Tensor.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "snell/ckpt/checkpoint.h"
#include "snell/dist/control_plane.h"

namespace snell::ckpt {

// A new empty folder that is removed at the end.
class TempFolder {
 public:
  TempFolder();
  ~TempFolder();
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Runs `body` once a rank, each in a thread of its own; rethrows nothing: bodies assert by themselves.
void with_ranks(int size, const std::function<void(dist::ControlPlane&)>& body);

// A state whose tensors follow from `step`: float32, float64, bfloat16, float16, int64, a scalar, an empty one.
TrainState make_state(int64_t step);

// Tensors of the same names, types and shapes, holding nothing of value.
std::vector<TensorRef> blank_like(const TrainState& state);

void expect_equal(const std::vector<TensorRef>& actual, const std::vector<TensorRef>& expected);

// Loads `path` into blanks and compares with make_state(step).
void expect_holds_step(const std::string& path, int64_t step);

std::string read_all(const std::string& path);
void write_all(const std::string& path, const std::string& text);

// The folder's shards, sorted.
std::vector<std::string> shards_in(const std::string& folder);

// Names under the folder, sorted.
std::vector<std::string> names_in(const std::string& folder);

}  // namespace snell::ckpt
