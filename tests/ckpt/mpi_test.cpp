// The same under mpirun: written by all ranks, read by a world of another size.
#include <ATen/ops/empty_like.h>

#include "ckpt/support.h"
#include "snell/ckpt/checkpoint.h"
#include "snell/dist/control_plane.h"

namespace snell::ckpt {
namespace {

TEST(MpiCheckpoint, SavedByAllRanksReadByAllAndByOne) {
  const auto control = dist::make_control_plane();
  const TempFolder own;
  const std::string run = control->broadcast(own.path());
  const TrainState state = make_state(21);
  const CheckpointInfo info = save(run, state, *control, {}, true);
  EXPECT_EQ(shards_in(info.path).size(), static_cast<size_t>(control->size()));

  const std::string found = find_latest(run, *control).value();
  EXPECT_EQ(found, info.path);
  auto blanks = blank_like(state);
  EXPECT_EQ(load(found, blanks, *control).world_size, control->size());
  expect_equal(blanks, state.tensors);

  expect_holds_step(found, 21);  // a world of one
  with_ranks(3, [&](dist::ControlPlane& other) {
    auto more = blank_like(state);
    load(found, more, other);
    expect_equal(more, state.tensors);
  });
  control->barrier();
}

// As an optimizer's state that is sharded over the ranks: each rank has some tensors, and the shapes of all.
TEST(MpiCheckpoint, EachRankSavesAndLoadsWhatItHas) {
  const auto control = dist::make_control_plane();
  const TempFolder own;
  const std::string run = control->broadcast(own.path());
  const auto is_mine = [&](size_t i) { return i == 0 || static_cast<int>(i) % control->size() == control->rank(); };
  const auto keep_mine = [&](std::vector<TensorRef> tensors) {
    for (size_t i = 0; i < tensors.size(); ++i) {
      if (!is_mine(i)) tensors[i].tensor = at::empty_like(tensors[i].tensor, at::device(at::kMeta));
    }
    return tensors;
  };
  const TrainState whole = make_state(5);
  TrainState mine = whole;
  mine.tensors = keep_mine(whole.tensors);
  const CheckpointInfo info = save(run, mine, *control, {}, true);
  expect_holds_step(info.path, 5);  // read by a world of one: all of it

  const auto blanks = blank_like(whole);
  load(info.path, keep_mine(blanks), *control);
  for (size_t i = 0; i < blanks.size(); ++i) {
    if (is_mine(i)) expect_equal({blanks[i]}, {whole.tensors[i]});
  }
  // Nobody has it: nothing is written.
  mine.step = 6;
  mine.tensors.back().tensor = at::empty_like(mine.tensors.back().tensor, at::device(at::kMeta));
  EXPECT_THROW(save(run, mine, *control, {}), core::Error);
  EXPECT_EQ(find_latest(run, *control).value(), info.path);
  control->barrier();
}

TEST(MpiCheckpoint, OneRanksFailureStopsAll) {
  const auto control = dist::make_control_plane();
  const TempFolder own;
  const std::string run = control->broadcast(own.path());
  TrainState state = make_state(1);
  save(run, state, *control, {});
  // The last rank has a tensor of its own that no file format holds.
  state.step = 2;
  for (TensorRef& ref : state.tensors) {
    if (control->rank() == control->size() - 1) ref.tensor = ref.tensor.to(at::kComplexDouble);
  }
  EXPECT_THROW(save(run, state, *control, {}), core::Error);
  control->barrier();
  expect_holds_step(find_latest(run, *control).value(), 1);
  control->barrier();
}

}  // namespace
}  // namespace snell::ckpt
