// MPI's start and end.
#pragma once

#include <string>

#include "snell/core/error.h"

namespace snell::dist {

// MPI from its start to its end: one a process, on main()'s stack, outliving every ControlPlane and Communicator.
//
//   MpiSession mpi(&argc, &argv);
//   try { … }
//   catch (const AgreedError& error) { return exit code; }      // every rank got it: an ordinary end
//   catch (const core::Error& error) { mpi.abort(exit code); }  // the other ranks do not know: stop them
//
// A program that was not started by mpirun or srun is a world of one. MPI_THREAD_MULTIPLE is demanded, because the
// control plane and the communication threads call MPI at the same time. Errors are returned, not fatal
// (MPI_ERRORS_RETURN, which duplicated communicators inherit).
class MpiSession {
 public:
  // Throws ConfigError when Slurm started several tasks of which MPI knows nothing (they would be several trainings in
  // one folder). Where MPI runs already it is used, and not ended by this object.
  MpiSession(int* argc, char*** argv);
  // Ends MPI; waits for the other ranks to do so. While an exception passes, it stops all ranks instead.
  ~MpiSession();
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;

  // Whether mpirun, or srun with a PMI, started this process.
  bool launched() const { return launched_; }

  // Stops every rank; mpirun returns `code`.
  [[noreturn]] void abort(core::ExitCode code) noexcept;

 private:
  bool launched_;
  bool owner_ = false;
  int exceptions_at_start_ = 0;
};

// The library's name and version in one line, e.g. "Open MPI v4.1.6, package: ...".
std::string mpi_version();

}  // namespace snell::dist
