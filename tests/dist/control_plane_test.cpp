#include "snell/dist/control_plane.h"

#include <gtest/gtest.h>

#include "snell/dist/config.h"

namespace snell::dist {

TEST(ControlPlane, KnowsItsPlace) {
  const auto control = make_control_plane();
  EXPECT_EQ(std::to_string(control->size()), std::getenv("SNELL_TEST_WORLD_SIZE"));
  EXPECT_EQ(control->local_size(), control->size());
  EXPECT_EQ(control->local_rank(), control->rank());
  EXPECT_FALSE(ControlPlane::hostname().empty());
}

TEST(ControlPlane, BroadcastsBytesOfAnyLength) {
  const auto control = make_control_plane();
  const int root = control->size() - 1;
  for (const size_t length : {size_t{0}, size_t{1}, size_t{100'000}}) {
    std::string bytes(length, 'x');
    if (length > 0) bytes[0] = '\0';
    EXPECT_EQ(control->broadcast(control->rank() == root ? bytes : "ignored", root), bytes);
  }
}

TEST(ControlPlane, GathersStringsInOrderOfRanks) {
  const auto control = make_control_plane();
  const std::string mine(static_cast<size_t>(control->rank() * 3), static_cast<char>('a' + control->rank()));
  const auto all = control->all_gather_strings(mine);
  ASSERT_EQ(all.size(), static_cast<size_t>(control->size()));
  for (int rank = 0; rank < control->size(); ++rank) {
    EXPECT_EQ(all[static_cast<size_t>(rank)],
              std::string(static_cast<size_t>(rank * 3), static_cast<char>('a' + rank)));
  }
  const auto on_root = control->gather_strings(mine);
  EXPECT_EQ(on_root.size(), control->is_root() ? all.size() : 0);
  if (control->is_root()) {
    EXPECT_EQ(on_root, all);
  }
}

TEST(ControlPlane, AgreesOnFlagsAndNumbers) {
  const auto control = make_control_plane();
  const bool last = control->rank() == control->size() - 1;
  EXPECT_TRUE(control->all_agree(true));
  EXPECT_FALSE(control->all_agree(!last));
  EXPECT_TRUE(control->any(last));
  EXPECT_FALSE(control->any(false));
  EXPECT_EQ(control->max(-10 + control->rank()), -10 + control->size() - 1);
  EXPECT_EQ(control->sum(control->rank() + 1), control->size() * (control->size() + 1) / 2);
  control->barrier();
}

TEST(ControlPlane, OneRanksFailureIsEveryRanksError) {
  const auto control = make_control_plane();
  const int failing = control->size() - 1;
  EXPECT_NO_THROW(control->all_or_none([] {}));
  try {
    control->all_or_none([&] {
      if (control->rank() == failing) throw core::DataError("no such file: x.h5");
    });
    FAIL() << "went on after a failure on rank " << failing;
  } catch (const AgreedError& error) {
    EXPECT_EQ(error.exit_code(), core::ExitCode::kData);
    const std::string text = error.what();
    EXPECT_NE(text.find("no such file: x.h5"), std::string::npos) << text;
    if (control->size() > 1) {
      EXPECT_EQ(text.find(core::str("rank ", failing, " on ")), 0u) << text;
    }
  }
}

TEST(ControlPlane, TheLowestFailedRankIsNamedAndTheOthersCounted) {
  const auto control = make_control_plane();
  if (control->size() == 1) {
    EXPECT_THROW(control->agree_ok("broken"), AgreedError);
    return;
  }
  try {
    control->agree_ok(control->rank() > 0 ? std::optional(core::str("broken ", control->rank())) : std::nullopt);
    FAIL();
  } catch (const AgreedError& error) {
    const std::string text = error.what();
    EXPECT_EQ(text.find("rank 1 on "), 0u) << text;
    EXPECT_NE(text.find("broken 1"), std::string::npos) << text;
    EXPECT_EQ(text.find("more of") != std::string::npos, control->size() > 2) << text;
  }
}

TEST(ControlPlane, RootDecides) {
  const auto control = make_control_plane();
  int calls = 0;
  EXPECT_EQ(control->root_decides([&] {
    ++calls;
    return std::string("run-7");
  }),
            "run-7");
  EXPECT_EQ(calls, control->is_root() ? 1 : 0);
  try {
    control->root_decides([]() -> std::string { throw core::DiskError("disk full"); });
    FAIL();
  } catch (const AgreedError& error) {
    EXPECT_EQ(error.exit_code(), core::ExitCode::kDisk);
  }
}

static DistConfig backend(const std::string& name) {
  DistConfig config;
  config.backend = name;
  return config;
}

TEST(Backend, FitsDeviceAndRanks) {
  const auto control = make_control_plane();
  const bool alone = control->size() == 1;
  EXPECT_STREQ(make_communicator({}, *control, at::kCPU)->name(), alone ? "self" : "mpi");
  EXPECT_STREQ(make_communicator(backend("mpi"), *control, at::kCPU)->name(), "mpi");
  EXPECT_THROW(make_communicator(backend("nccl"), *control, at::kCPU), core::ConfigError);
  EXPECT_THROW(make_communicator(backend("mpi"), *control, at::kCUDA), core::ConfigError);
  if (alone) {
    EXPECT_STREQ(make_communicator(backend("self"), *control, at::kCPU)->name(), "self");
  } else {
    EXPECT_THROW(make_communicator(backend("self"), *control, at::kCPU), core::ConfigError);
  }
  EXPECT_EQ(choose_device("cpu", *control), at::Device(at::kCPU));
  if (!has_nccl()) {
    EXPECT_EQ(choose_device("auto", *control), at::Device(at::kCPU));
    EXPECT_THROW(choose_device("cuda", *control), AgreedError);
    EXPECT_THROW(make_communicator(backend("nccl"), *control, at::kCUDA), core::ConfigError);
  }
}

}  // namespace snell::dist
