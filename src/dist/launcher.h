// The end of a launcher that waits for a host that is gone. Open MPI's mpirun asks the daemons of all hosts to end
// their processes, and waits for a host behind a cut cable until TCP gives up: a quarter of an hour.
#pragma once

namespace snell::dist {

// Leaves a process behind that gives this process's parent, when it is a launcher of MPI (mpirun, orted, prterun, …),
// `grace_s` seconds to end by itself, and then SIGKILL (a second SIGTERM crashes mpirun). The file that
// SNELL_EXIT_CODE_FILE names, if any, gets `exit_code`, which a launcher that is killed cannot tell
// (launch/wait_for_mpirun.sh). Holds no file of this process open. To be called right before _exit().
void end_launcher_later(double grace_s, int exit_code) noexcept;

}  // namespace snell::dist
