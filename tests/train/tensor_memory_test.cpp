#include "snell/train/tensor_memory.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include <thread>

namespace snell::train {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;

at::Tensor mebibytes(int64_t count) {
  return at::empty({count * kMiB}, at::kByte);
}

class TensorMemoryTest : public ::testing::Test {
 protected:
  void SetUp() override {
    keep_freed_tensors();
    give_back_freed_tensors();
    before_ = tensor_memory().in_use;
  }
  int64_t in_use() const { return tensor_memory().in_use - before_; }

 private:
  int64_t before_ = 0;
};

TEST_F(TensorMemoryTest, AFreedBlockIsHandedOutAgainForItsSizeOnly) {
  at::Tensor first = mebibytes(2);
  const void* block = first.data_ptr();
  EXPECT_EQ(reinterpret_cast<uintptr_t>(block) % 64, 0U);
  EXPECT_EQ(in_use(), 2 * kMiB);
  first.reset();
  EXPECT_EQ(in_use(), 0);
  EXPECT_EQ(tensor_memory().idle, 2 * kMiB);
  const at::Tensor again = mebibytes(2);
  EXPECT_EQ(again.data_ptr(), block);
  EXPECT_EQ(tensor_memory().idle, 0);
}

TEST_F(TensorMemoryTest, NoMoreIsHeldThanWasInUseAtOnce) {
  { const at::Tensor a = mebibytes(3), b = mebibytes(5); }
  EXPECT_EQ(tensor_memory().idle, 8 * kMiB);
  const at::Tensor c = mebibytes(4);  // 3 + 5 + 4 is too much: the 5, freed first, goes
  EXPECT_EQ(tensor_memory().idle, 3 * kMiB);
  EXPECT_EQ(tensor_memory().most_in_use - (tensor_memory().in_use - 4 * kMiB), 8 * kMiB);
  const at::Tensor d = mebibytes(9);  // more than ever before
  EXPECT_EQ(tensor_memory().idle, 0);
  EXPECT_EQ(in_use(), 13 * kMiB);
}

TEST_F(TensorMemoryTest, IdleBlocksAreGivenBackOnDemand) {
  mebibytes(6).reset();
  EXPECT_EQ(tensor_memory().idle, 6 * kMiB);
  give_back_freed_tensors();
  EXPECT_EQ(tensor_memory().idle, 0);
  EXPECT_EQ(tensor_memory().most_in_use, tensor_memory().in_use);
}

TEST_F(TensorMemoryTest, SmallTensorsAreNotCountedAndTheRawInterfaceFreesBoth) {
  const at::Tensor small = at::empty({1000}, at::kByte);
  EXPECT_EQ(in_use(), 0);
  auto* allocator = c10::GetAllocator(c10::DeviceType::CPU);
  for (const size_t size : {size_t{100}, size_t{300} << 10}) allocator->raw_deallocate(allocator->raw_allocate(size));
  EXPECT_EQ(in_use(), 0);
  EXPECT_EQ(tensor_memory().idle, 300 << 10);
}

TEST_F(TensorMemoryTest, ThreadsShareIt) {
  std::vector<std::thread> threads;
  std::atomic<int> wrong = 0;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([t, &wrong] {
      for (int i = 0; i < 200; ++i) {
        const at::Tensor mine = at::full({(128 + 16 * ((t + i) % 3)) << 10}, t, at::kByte);
        if (mine.ne(t).any().item<bool>()) ++wrong;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(in_use(), 0);
}

TEST_F(TensorMemoryTest, WhatTheSystemCannotGiveIsAnErrorWithItsSize) {
  try {
    mebibytes(int64_t{1} << 27);
    FAIL() << "128 TiB";
  } catch (const c10::Error& error) {
    EXPECT_NE(std::string(error.what()).find("140737488355328 bytes"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace snell::train
