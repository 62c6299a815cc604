// Saves that are cut off: killed at each durable operation, a full disk, a failing flush. This program has its own
// rename() and fsync(), which the library's calls resolve to.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "ckpt/support.h"
#include "snell/ckpt/checkpoint.h"
#include "snell/core/error.h"

static int g_kill_at = 0;             // SIGKILL before this one of the operations; 0: never
static thread_local int t_errno = 0;  // what flushing fails with on this thread

static void count_operation() {
  if (g_kill_at > 0 && --g_kill_at == 0) ::kill(::getpid(), SIGKILL);
}

extern "C" int rename(const char* from, const char* to) noexcept {
  count_operation();
  return static_cast<int>(::syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0));
}

extern "C" int fsync(int fd) {
  count_operation();
  if (t_errno != 0) {
    errno = t_errno;
    return -1;
  }
  return static_cast<int>(::syscall(SYS_fsync, fd));
}

namespace snell::ckpt {
namespace {

using ::testing::ElementsAre;

void save_step(const std::string& run, const TrainState& state) {
  dist::SelfControlPlane control;
  save(run, state, control, {.keep = 1});
}

// Saves in a child that is killed before its n-th operation; false when it got through.
bool killed_while_saving(const std::string& run, const TrainState& state, int n) {
  const pid_t child = ::fork();
  if (child == 0) {
    g_kill_at = n;
    save_step(run, state);
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status) ? WTERMSIG(status) == SIGKILL : WEXITSTATUS(status) == 0) << status;
  return WIFSIGNALED(status);
}

TEST(Crash, KilledAnywhereAWholeCheckpointIsFound) {
  bool new_one_seen = false;
  int n = 1;
  for (bool killed = true; killed; ++n) {
    TempFolder run;
    dist::SelfControlPlane control;
    save_step(run.path(), make_state(1));
    killed = killed_while_saving(run.path(), make_state(2), n);
    const std::string found = find_latest(run.path(), control).value();
    const bool is_new = found.ends_with("step-0000000002");
    expect_holds_step(found, is_new ? 2 : 1);
    EXPECT_TRUE(is_new || !new_one_seen) << "once committed it stays";
    new_one_seen |= is_new;
    // The next save works and clears up whatever the dead one left.
    save_step(run.path(), make_state(3));
    EXPECT_THAT(names_in(run.path() + "/checkpoints"), ElementsAre("step-0000000003")) << "killed at " << n;
  }
  EXPECT_TRUE(new_one_seen);
  EXPECT_GE(n, 7) << "shard: flush, rename, flush; manifest: the same; folder: rename, flush";
}

TEST(Crash, KilledWhileReplacingTheSameStepOneOfTheTwoIsFound) {
  bool killed = true;
  bool new_one_seen = false;
  for (int n = 1; killed; ++n) {
    TempFolder run;
    dist::SelfControlPlane control;
    save_step(run.path(), make_state(5));
    TrainState other = make_state(6);
    other.step = 5;
    killed = killed_while_saving(run.path(), other, n);
    const std::string found = find_latest(run.path(), control).value();
    auto blanks = blank_like(other);
    load(found, blanks, control);
    const bool is_new = blanks[0].tensor.equal(other.tensors[0].tensor);
    expect_equal(blanks, is_new ? other.tensors : make_state(5).tensors);
    EXPECT_TRUE(is_new || !new_one_seen);
    new_one_seen |= is_new;
    save_step(run.path(), make_state(5));
    EXPECT_THAT(names_in(run.path() + "/checkpoints"), ElementsAre("step-0000000005")) << "killed at " << n;
    expect_holds_step(run.path() + "/checkpoints/step-0000000005", 5);
  }
  EXPECT_TRUE(new_one_seen);
}

// Every rank's outcome of a save.
std::vector<core::ExitCode> save_outcomes(const std::string& run, const TrainState& state, int ranks, int failing) {
  std::vector<core::ExitCode> codes(static_cast<size_t>(ranks), core::ExitCode::kOk);
  with_ranks(ranks, [&](dist::ControlPlane& control) {
    t_errno = control.rank() == failing ? ENOSPC : 0;
    try {
      save(run, state, control, {.keep = 1});
    } catch (const core::Error& error) {
      codes[static_cast<size_t>(control.rank())] = error.exit_code();
      EXPECT_THAT(error.what(), ::testing::HasSubstr("No space left"));
    }
    t_errno = 0;
  });
  return codes;
}

TEST(Crash, OneRanksFullDiskStopsAllAndTheOldOneStays) {
  for (const int failing : {0, 1, 2}) {
    TempFolder run;
    dist::SelfControlPlane control;
    save_step(run.path(), make_state(1));
    using enum core::ExitCode;
    EXPECT_THAT(save_outcomes(run.path(), make_state(2), 3, failing), ElementsAre(kDisk, kDisk, kDisk));
    EXPECT_THAT(names_in(run.path() + "/checkpoints"), ElementsAre("step-0000000001"));
    expect_holds_step(find_latest(run.path(), control).value(), 1);
    EXPECT_THAT(save_outcomes(run.path(), make_state(2), 3, -1), ElementsAre(kOk, kOk, kOk));
    EXPECT_THAT(names_in(run.path() + "/checkpoints"), ElementsAre("step-0000000002"));
  }
}

TEST(Crash, AFileSizeLimitIsADiskErrorAndTheOldOneStays) {
  TempFolder run;
  dist::SelfControlPlane control;
  save_step(run.path(), make_state(1));
  rlimit old = {};
  ::getrlimit(RLIMIT_FSIZE, &old);
  const auto old_handler = ::signal(SIGXFSZ, SIG_IGN);
  const rlimit small = {64, old.rlim_max};
  ::setrlimit(RLIMIT_FSIZE, &small);
  core::ExitCode code = core::ExitCode::kOk;
  try {
    save_step(run.path(), make_state(2));
  } catch (const core::Error& error) {
    code = error.exit_code();
  }
  ::setrlimit(RLIMIT_FSIZE, &old);
  ::signal(SIGXFSZ, old_handler);
  EXPECT_EQ(code, core::ExitCode::kDisk);
  EXPECT_THAT(names_in(run.path() + "/checkpoints"), ElementsAre("step-0000000001"));
  expect_holds_step(find_latest(run.path(), control).value(), 1);
}

}  // namespace
}  // namespace snell::ckpt
