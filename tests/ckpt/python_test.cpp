// A checkpoint is readable from Python with its json module and a safetensors reader.
#include <sys/wait.h>

#include <cstdlib>

#include "ckpt/support.h"
#include "snell/ckpt/checkpoint.h"

namespace snell::ckpt {
namespace {

TEST(Python, ReadsTheCheckpoint) {
  TempFolder run;
  with_ranks(2, [&](dist::ControlPlane& control) { save(run.path(), make_state(12), control, {}, true); });
  const std::string command = std::string("python3 ") + SNELL_SOURCE_DIR + "/tests/ckpt/read_checkpoint.py " +
                              run.path() + "/checkpoints/step-0000000012";
  const int status = std::system(command.c_str());
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0) << command;
}

}  // namespace
}  // namespace snell::ckpt
