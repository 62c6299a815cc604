#include "ckpt/support.h"

#include <ATen/Functions.h>
#include <ATen/ops/arange.h>

#include <algorithm>
#include <barrier>
#include <cstring>
#include <fstream>
#include <thread>

namespace snell::ckpt {

namespace fs = std::filesystem;

TempFolder::TempFolder() {
  std::string pattern = (fs::temp_directory_path() / "snell-ckpt-XXXXXX").string();
  if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
  path_ = pattern;
}

TempFolder::~TempFolder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

namespace {
struct World {
  explicit World(int size) : barrier(size), slots(static_cast<size_t>(size)) {}
  std::barrier<> barrier;
  std::vector<std::string> slots;
};

class ThreadRank : public dist::ControlPlane {
 public:
  ThreadRank(World& world, int rank) : world_(world), rank_(rank) {}
  int rank() const override { return rank_; }
  int size() const override { return static_cast<int>(world_.slots.size()); }
  int local_rank() const override { return rank_; }
  int local_size() const override { return size(); }
  void barrier() override { world_.barrier.arrive_and_wait(); }
  std::vector<std::string> all_gather_strings(const std::string& bytes) override {
    world_.slots[static_cast<size_t>(rank_)] = bytes;
    barrier();
    std::vector<std::string> all = world_.slots;
    barrier();
    return all;
  }
  std::string broadcast(const std::string& bytes, int root) override {
    return all_gather_strings(bytes)[static_cast<size_t>(root)];
  }
  std::vector<int64_t> all_gather_ints(int64_t value) override {
    std::vector<int64_t> values;
    for (const std::string& text : all_gather_strings(std::to_string(value))) values.push_back(std::stoll(text));
    return values;
  }
  std::vector<std::string> gather_strings(const std::string& bytes, int root) override {
    auto all = all_gather_strings(bytes);
    return rank_ == root ? all : std::vector<std::string>{};
  }

 private:
  World& world_;
  int rank_;
};
}  // namespace

void with_ranks(int size, const std::function<void(dist::ControlPlane&)>& body) {
  World world(size);
  std::vector<std::jthread> threads;
  for (int rank = 0; rank < size; ++rank) {
    threads.emplace_back([&, rank] {
      ThreadRank control(world, rank);
      body(control);
    });
  }
}

TrainState make_state(int64_t step) {
  TrainState state;
  state.step = step;
  state.epoch = step / 10;
  state.step_in_epoch = step % 10;
  state.samples_seen = 64 * step;
  state.seed = 0xfedcba9876543210u;
  state.config_hash = "c0ffee";
  state.metrics = {{"top1", 0.25}};
  state.extra = {{"note", "größer"}};
  const auto values = [&](int64_t n, at::ScalarType type) {
    return at::arange(n, at::kDouble).add(static_cast<double>(step)).div(3.0).to(type);
  };
  state.tensors = {{"param/in_qs", values(24, at::kFloat).reshape({2, 4, 3})},
                   {"param/head.weight", values(35, at::kDouble).reshape({5, 7})},
                   {"optim/exp_avg/in_qs", values(24, at::kBFloat16).reshape({2, 4, 3})},
                   {"optim/exp_avg_sq/in_qs", values(24, at::kHalf).reshape({2, 4, 3})},
                   {"thresholds/blocks.0.q", values(1, at::kFloat).reshape({})},
                   {"counter", values(3, at::kLong)},
                   {"empty", values(0, at::kFloat).reshape({0, 4})}};
  return state;
}

std::vector<TensorRef> blank_like(const TrainState& state) {
  std::vector<TensorRef> blanks;
  for (const TensorRef& ref : state.tensors) blanks.push_back({ref.name, at::full_like(ref.tensor, 77)});
  return blanks;
}

void expect_equal(const std::vector<TensorRef>& actual, const std::vector<TensorRef>& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) {
    EXPECT_EQ(actual[i].name, expected[i].name);
    EXPECT_EQ(actual[i].tensor.scalar_type(), expected[i].tensor.scalar_type()) << actual[i].name;
    ASSERT_EQ(actual[i].tensor.sizes(), expected[i].tensor.sizes()) << actual[i].name;
    if (actual[i].tensor.numel() == 0) continue;  // an empty tensor has no bytes to point at
    const size_t size = actual[i].tensor.nbytes();
    EXPECT_EQ(std::memcmp(actual[i].tensor.const_data_ptr(), expected[i].tensor.const_data_ptr(), size), 0)
        << actual[i].name << " differs in its bits";
  }
}

void expect_holds_step(const std::string& path, int64_t step) {
  const TrainState state = make_state(step);
  auto blanks = blank_like(state);
  dist::SelfControlPlane control;
  load(path, blanks, control);
  expect_equal(blanks, state.tensors);
}

std::string read_all(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write_all(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << text;
}

std::vector<std::string> names_in(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<std::string> shards_in(const std::string& folder) {
  std::vector<std::string> shards;
  for (const std::string& name : names_in(folder)) {
    if (name.ends_with(".safetensors")) shards.push_back(folder + "/" + name);
  }
  return shards;
}

}  // namespace snell::ckpt
