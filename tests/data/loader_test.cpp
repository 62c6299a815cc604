#include "snell/data/loader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <map>
#include <thread>

#include "snell/core/error.h"
#include "snell/data/memory_source.h"

namespace snell::data {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kSide = 6;

// Sample i is a grey picture of its own, of label i % 3.
std::shared_ptr<MemorySource> pictures(int64_t count) {
  auto source = std::make_shared<MemorySource>(std::vector<std::string>{"a", "b", "c"});
  for (int64_t i = 0; i < count; ++i) {
    Sample sample{Encoding::kRawGrey, kSide, kSide, {}};
    for (int64_t p = 0; p < kSide * kSide; ++p) sample.bytes.push_back(static_cast<std::byte>(i * 37 + p * 5));
    source->add(std::move(sample), i % 3, core::str("picture", i));
  }
  return source;
}

std::shared_ptr<const Transform> recipe(const std::string& name) {
  TransformConfig config;
  config.size = kSide;
  return make_transform(name, config);
}

LoaderOptions options_of(int64_t batch, int64_t shards, int64_t rank, int64_t ranks, int64_t workers) {
  LoaderOptions options;
  options.seed = 17;
  options.batch_size = batch;
  options.num_shards = shards;
  options.rank = rank;
  options.num_ranks = ranks;
  options.workers = workers;
  return options;
}

std::vector<Batch> read_epoch(DataLoader& loader, int64_t epoch, int64_t first_step = 0) {
  std::vector<Batch> out;
  loader.start_epoch(epoch, first_step);
  while (auto batch = loader.next()) out.push_back(std::move(*batch));
  return out;
}

// Every bit of a shard, to compare with.
std::string fingerprint(const Shard& shard) {
  std::string text =
      core::str(shard.id, shard.dummy ? " dummy " : " ", shard.images_BCHW.sizes(), shard.labels_B.sizes());
  const auto add = [&](const void* data, size_t size) { text.append(static_cast<const char*>(data), size); };
  add(shard.images_BCHW.const_data_ptr<float>(), static_cast<size_t>(shard.images_BCHW.numel()) * sizeof(float));
  add(shard.labels_B.const_data_ptr<int64_t>(), static_cast<size_t>(shard.labels_B.numel()) * sizeof(int64_t));
  add(shard.slots.data(), shard.slots.size() * sizeof(uint32_t));
  add(shard.indices.data(), shard.indices.size() * sizeof(int64_t));
  return text;
}

// {step, shard} -> bits, over all ranks.
std::map<std::pair<int64_t, int64_t>, std::string> read_all(int64_t ranks, int64_t workers, int64_t epoch) {
  std::map<std::pair<int64_t, int64_t>, std::string> out;
  for (int64_t rank = 0; rank < ranks; ++rank) {
    DataLoader loader(pictures(37), recipe("fgvc_train"), options_of(8, 4, rank, ranks, workers));
    for (const Batch& batch : read_epoch(loader, epoch)) {
      EXPECT_EQ(batch.epoch, epoch);
      EXPECT_EQ(batch.global_count, batch.step_in_epoch == 4 ? 5 : 8);
      for (const Shard& shard : batch.shards) {
        EXPECT_TRUE(out.emplace(std::pair{batch.step_in_epoch, shard.id}, fingerprint(shard)).second);
      }
    }
  }
  return out;
}

// Fails on the samples that it is told to.
class FailingSource : public MemorySource {
 public:
  FailingSource(const MemorySource& good, std::vector<int64_t> bad) : MemorySource(good), bad_(std::move(bad)) {}
  Sample read(int64_t index) const override {
    ++num_reads;
    if (std::find(bad_.begin(), bad_.end(), index) != bad_.end()) {
      throw core::DataError(core::str("checksum of ", name(index)));
    }
    return MemorySource::read(index);
  }
  mutable std::atomic<int> num_reads = 0;

 private:
  std::vector<int64_t> bad_;
};

}  // namespace

TEST(Loader, SameBitsWithAnyNumberOfRanksAndWorkers) {
  const auto expected = read_all(1, 0, 2);
  EXPECT_EQ(expected.size(), 20U);
  for (int64_t ranks : {1, 2, 4}) {
    for (int64_t workers : {0, 1, 3}) EXPECT_EQ(read_all(ranks, workers, 2), expected) << ranks << " " << workers;
  }
  EXPECT_NE(read_all(1, 0, 3), expected);
}

TEST(Loader, EverySampleOnceAnEpochWithItsLabel) {
  for (bool shuffle : {true, false}) {
    std::vector<int64_t> seen;
    for (int64_t rank = 0; rank < 2; ++rank) {
      LoaderOptions options = options_of(8, 2, rank, 2, 2);
      options.shuffle = shuffle;
      DataLoader loader(pictures(21), recipe("none"), options);
      EXPECT_EQ(loader.num_steps(), 3);
      for (const Batch& batch : read_epoch(loader, 0)) {
        for (const Shard& shard : batch.shards) {
          for (size_t i = 0; i < shard.indices.size(); ++i) {
            seen.push_back(shard.indices[i]);
            EXPECT_EQ(shard.labels_B[static_cast<int64_t>(i)].item<int64_t>(), shard.indices[i] % 3);
            if (!shuffle) {
              EXPECT_EQ(shard.slots[i], shard.indices[i]);
            }
          }
        }
      }
    }
    std::sort(seen.begin(), seen.end());
    for (int64_t i = 0; i < 21; ++i) EXPECT_EQ(seen.at(static_cast<size_t>(i)), i);
    EXPECT_EQ(seen.size(), 21U);
  }
}

TEST(Loader, ShardsWithoutSamplesAreDummies) {
  for (int64_t workers : {0, 2}) {
    DataLoader loader(pictures(9), recipe("none"), options_of(8, 4, 0, 4, workers));
    const auto batches = read_epoch(loader, 0);
    ASSERT_EQ(batches.size(), 2U);
    const Shard& shard = batches[1].shards.at(0);  // one sample in four shards: it is in the last
    EXPECT_TRUE(shard.dummy);
    EXPECT_EQ(batches[1].global_count, 1);
    EXPECT_EQ(shard.images_BCHW.sizes(), (std::vector<int64_t>{1, 3, kSide, kSide}));
    EXPECT_EQ(shard.images_BCHW.abs().sum().item<float>(), 0.0F);
    EXPECT_EQ(shard.labels_B.numel(), 1);
    EXPECT_EQ(shard.slots, std::vector<uint32_t>{0});
    EXPECT_EQ(shard.indices, std::vector<int64_t>{-1});
  }
}

TEST(Loader, EntersAnEpochInTheMiddleWithoutReadingWhatCameBefore) {
  for (int64_t workers : {0, 2}) {
    auto source = std::make_shared<FailingSource>(*pictures(37), std::vector<int64_t>{});
    DataLoader loader(source, recipe("fgvc_train"), options_of(8, 2, 0, 1, workers));
    const auto whole = read_epoch(loader, 1);
    source->num_reads = 0;
    const auto rest = read_epoch(loader, 1, 3);
    EXPECT_EQ(source->num_reads, 13);
    ASSERT_EQ(rest.size(), 2U);
    for (size_t i = 0; i < 2; ++i) {
      EXPECT_EQ(rest[i].step_in_epoch, static_cast<int64_t>(i) + 3);
      for (size_t s = 0; s < 2; ++s) EXPECT_EQ(fingerprint(rest[i].shards[s]), fingerprint(whole[i + 3].shards[s]));
    }
    EXPECT_TRUE(read_epoch(loader, 1, 5).empty());
    EXPECT_THROW(loader.start_epoch(1, 6), core::Error);
  }
}

TEST(Loader, DeliversErrorsAtTheirBatchInOrder) {
  LoaderOptions options = options_of(4, 1, 0, 1, 0);
  options.shuffle = false;
  for (int64_t workers : {0, 1, 3}) {
    options.workers = workers;
    auto source = std::make_shared<FailingSource>(*pictures(16), std::vector<int64_t>{6, 7, 14});
    DataLoader loader(source, recipe("none"), options);
    for (int round = 0; round < 20; ++round) {
      loader.start_epoch(0);
      EXPECT_TRUE(loader.next().has_value());
      for (int again = 0; again < 2; ++again) {
        try {
          loader.next();
          FAIL() << "no error";
        } catch (const core::DataError& error) {
          EXPECT_STREQ(error.what(), "checksum of picture6");
        }
      }
    }
    loader.start_epoch(0, 2);
    EXPECT_EQ(loader.next()->step_in_epoch, 2);
  }
}

TEST(Loader, NamesThePictureThatCannotBeDecoded) {
  auto source = pictures(2);
  source->add({Encoding::kFile, 0, 0, std::vector<std::byte>(10)}, 0, "folder/broken.jpg");
  DataLoader loader(source, recipe("none"), options_of(3, 1, 0, 1, 1));
  loader.start_epoch(0);
  try {
    loader.next();
    FAIL();
  } catch (const core::DataError& error) {
    EXPECT_THAT(error.what(), HasSubstr("folder/broken.jpg"));
  }
}

TEST(Loader, PrefetchIsBounded) {
  auto source = std::make_shared<FailingSource>(*pictures(400), std::vector<int64_t>{});
  LoaderOptions options = options_of(4, 1, 0, 1, 3);
  options.prefetch = 2;
  DataLoader loader(source, recipe("none"), options);
  loader.start_epoch(0);
  for (int taken = 1; taken <= 5; ++taken) {
    loader.next();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    EXPECT_LE(source->num_reads, 4 * (taken + 2));
  }
}

TEST(Loader, EndsAtAnyTime) {
  auto source = pictures(200);
  for (int trial = 0; trial < 200; ++trial) {
    DataLoader loader(source, recipe("fgvc_train"), options_of(5, 1, 0, 1, 1 + trial % 3));
    if (trial % 5 == 0) continue;  // never started
    loader.start_epoch(trial);
    for (int i = 0; i < trial % 4; ++i) EXPECT_EQ(loader.next()->step_in_epoch, i);
    if (trial % 2 == 0) {  // another epoch while the workers are busy
      loader.start_epoch(trial + 1, 7);
      EXPECT_EQ(loader.next()->step_in_epoch, 7);
    }
  }
}

TEST(Loader, RefusesWhatDoesNotFit) {
  const auto make = [](const LoaderOptions& options) { DataLoader loader(pictures(4), recipe("none"), options); };
  EXPECT_THROW(make(options_of(4, 3, 0, 2, 0)), core::ConfigError);
  EXPECT_THROW(make(options_of(4, 2, 0, 2, -1)), core::ConfigError);
  EXPECT_THROW(make(options_of(4, 2, 2, 2, 0)), core::Error);
  LoaderOptions options = options_of(4, 2, 0, 2, 1);
  options.prefetch = 0;
  EXPECT_THROW(make(options), core::ConfigError);
  DataLoader loader(pictures(4), recipe("none"), options_of(4, 1, 0, 1, 0));
  EXPECT_THROW(loader.next(), core::Error);
}

}  // namespace snell::data
