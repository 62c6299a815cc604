// Saving and loading: every type bit for bit, any number of ranks, strictness.
#include "snell/ckpt/checkpoint.h"

#include <ATen/Functions.h>
#include <gmock/gmock.h>

#include <limits>

#include "ckpt/support.h"
#include "snell/ckpt/inspect.h"
#include "snell/core/error.h"

namespace snell::ckpt {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// The message of the WeightsError that loading throws.
std::string load_error(const std::string& path, const std::vector<TensorRef>& into, const std::string& prefix = "") {
  dist::SelfControlPlane control;
  try {
    load(path, into, control, prefix);
  } catch (const core::Error& error) {
    EXPECT_EQ(error.exit_code(), core::ExitCode::kWeights);
    return error.what();
  }
  ADD_FAILURE() << "loading went well";
  return "";
}

TEST(Checkpoint, RoundTripIsBitEqualAndKeepsTheCounters) {
  TempFolder run;
  dist::SelfControlPlane control;
  TrainState state = make_state(123);
  const CheckpointInfo info = save(run.path(), state, control, {}, true);
  EXPECT_EQ(info.path, run.path() + "/checkpoints/step-0000000123");
  EXPECT_GT(info.bytes, 500);

  auto blanks = blank_like(state);
  blanks[0].tensor.requires_grad_(true);
  const Manifest manifest = load(find_latest(run.path(), control).value(), blanks, control);
  expect_equal(blanks, state.tensors);
  EXPECT_TRUE(blanks[0].tensor.requires_grad());
  EXPECT_TRUE(blanks[0].tensor.is_leaf());
  EXPECT_EQ(manifest.step, 123);
  EXPECT_EQ(manifest.epoch, 12);
  EXPECT_EQ(manifest.step_in_epoch, 3);
  EXPECT_EQ(manifest.samples_seen, 64 * 123);
  EXPECT_EQ(manifest.seed, 0xfedcba9876543210u);
  EXPECT_EQ(manifest.config_hash, "c0ffee");
  EXPECT_TRUE(manifest.is_best);
  EXPECT_EQ(manifest.metrics["top1"], 0.25);
  EXPECT_EQ(manifest.extra["note"], "größer");
}

TEST(Checkpoint, NoCheckpointIsNoError) {
  TempFolder run;
  dist::SelfControlPlane control;
  EXPECT_EQ(find_latest(run.path(), control), std::nullopt);
  EXPECT_EQ(find_best(run.path() + "/nowhere", control), std::nullopt);
}

TEST(Checkpoint, AnyNumberOfRanksReadsWhatAnyOtherWrote) {
  for (const int writers : {1, 2, 3, 4, 16}) {
    TempFolder run;
    with_ranks(writers, [&](dist::ControlPlane& control) { save(run.path(), make_state(40), control, {}); });
    const std::string folder = run.path() + "/checkpoints/step-0000000040";
    EXPECT_EQ(shards_in(folder).size(), static_cast<size_t>(std::min(writers, 7))) << "7 tensors";
    EXPECT_EQ(read_manifest(folder).world_size, writers);
    for (const int readers : {1, 2, 4}) {
      with_ranks(readers, [&](dist::ControlPlane& control) {
        const TrainState state = make_state(40);
        auto blanks = blank_like(state);
        load(find_latest(run.path(), control).value(), blanks, control);
        expect_equal(blanks, state.tensors);
      });
    }
  }
}

TEST(Checkpoint, ShardsAreBalancedBySize) {
  TempFolder run;
  TrainState state;
  for (int i = 0; i < 16; ++i) {
    state.tensors.push_back({core::str("t", i), at::zeros({1000 + 10 * i}, at::kFloat)});
  }
  with_ranks(4, [&](dist::ControlPlane& control) { save(run.path(), state, control, {}); });
  const Manifest manifest = read_manifest(run.path() + "/checkpoints/step-0000000000");
  ASSERT_EQ(manifest.files.size(), 4u);
  for (const auto& [name, file] : manifest.files) EXPECT_NEAR(static_cast<double>(file.bytes), 17500, 600) << name;
}

TEST(Checkpoint, NamesWhatDoesNotFit) {
  TempFolder run;
  dist::SelfControlPlane control;
  const TrainState state = make_state(5);
  const std::string path = save(run.path(), state, control, {}).path;

  auto into = blank_like(state);
  into[0].name = "param/other";
  into[1].tensor = at::zeros({7, 5}, at::kDouble);
  into[2].tensor = into[2].tensor.to(at::kFloat);
  const std::string message = load_error(path, into);
  EXPECT_THAT(message, HasSubstr("missing in it: param/other"));
  EXPECT_THAT(message, HasSubstr("only in it: param/in_qs"));
  EXPECT_THAT(message, HasSubstr("param/head.weight (checkpoint F64 [5, 7], model F64 [7, 5])"));
  EXPECT_THAT(message, HasSubstr("optim/exp_avg/in_qs (checkpoint BF16 [2, 4, 3], model F32 [2, 4, 3])"));
  EXPECT_TRUE(into[3].tensor.eq(77).all().item<bool>()) << "nothing is changed by a load that fails";
}

TEST(Checkpoint, PrefixSelectsAPart) {
  TempFolder run;
  dist::SelfControlPlane control;
  const TrainState state = make_state(5);
  const std::string path = save(run.path(), state, control, {}).path;
  std::vector<TensorRef> parameters = blank_like(state);
  parameters.resize(2);
  load(path, parameters, control, "param/");
  expect_equal(parameters, {state.tensors[0], state.tensors[1]});
  parameters.pop_back();
  EXPECT_THAT(load_error(path, parameters, "param/"), HasSubstr("only in it: param/head.weight"));
}

TEST(Checkpoint, NonContiguousAndNonFiniteValues) {
  TempFolder run;
  dist::SelfControlPlane control;
  TrainState state;
  const float nan = std::numeric_limits<float>::quiet_NaN();
  state.tensors = {{"a", at::tensor({1.0f, nan, -0.0f, std::numeric_limits<float>::infinity()}).reshape({2, 2}).t()}};
  state.metrics = {{"loss", std::numeric_limits<double>::infinity()}};
  const std::string path = save(run.path(), state, control, {}).path;
  std::vector<TensorRef> into = {{"a", at::zeros({2, 2})}};
  EXPECT_TRUE(load(path, into, control).metrics["loss"].is_null());
  expect_equal(into, {{"a", state.tensors[0].tensor.contiguous()}});
}

TEST(Checkpoint, RefusesAStateThatNamesATensorTwice) {
  TempFolder run;
  dist::SelfControlPlane control;
  TrainState state = make_state(1);
  state.tensors.push_back(state.tensors[0]);
  EXPECT_THROW(save(run.path(), state, control, {}), core::Error);
  EXPECT_THAT(names_in(run.path() + "/checkpoints"), ElementsAre());
}

TEST(Checkpoint, InspectShowsAndVerifies) {
  TempFolder run;
  dist::SelfControlPlane control;
  const std::string path = save(run.path(), make_state(77), control, {}).path;
  const Inspection whole = inspect_checkpoint(path);
  EXPECT_TRUE(whole.verified);
  EXPECT_THAT(whole.text, HasSubstr("step          77"));
  EXPECT_THAT(whole.text, HasSubstr("all verified"));
  EXPECT_THAT(whole.text, HasSubstr("F64 [5, 7]"));
  EXPECT_EQ(whole.json["tensors"]["param/in_qs"]["shape"], nlohmann::json({2, 4, 3}));

  std::string bytes = read_all(shards_in(path)[0]);
  bytes.back() ^= 4;
  write_all(shards_in(path)[0], bytes);
  const Inspection damaged = inspect_checkpoint(path);
  EXPECT_FALSE(damaged.verified);
  EXPECT_THAT(damaged.text, HasSubstr("DAMAGED"));
  EXPECT_EQ(damaged.json["verified"], false);
}

}  // namespace
}  // namespace snell::ckpt
