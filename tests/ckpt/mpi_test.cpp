// The same under mpirun: written by all ranks, read by a world of another size.
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
