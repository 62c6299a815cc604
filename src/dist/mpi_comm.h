// MPI's errors and communicators. Every return code of MPI passes through check_mpi().
#pragma once

#include <mpi.h>

#include <source_location>
#include <string>

namespace snell::dist {

// Throws core::Error with the name of the call and MPI's own text when `code` is not MPI_SUCCESS.
void check_mpi(int code, const char* call, std::source_location where = std::source_location::current());

// A communicator of our own, one a purpose, so that messages of different purposes never meet.
class MpiComm {
 public:
  // Collective over `parent`. `name` is what tools (and the traffic counter of tests) see.
  static MpiComm duplicate(MPI_Comm parent, const std::string& name);
  // Collective over `parent`: those of its ranks that pass the same `color` >= 0, in order of their ranks.
  static MpiComm split(MPI_Comm parent, int color, const std::string& name);
  // Collective: the ranks of `parent` that share this node's memory, in order of their ranks.
  static MpiComm node_of(MPI_Comm parent);

  MpiComm(MpiComm&& other) noexcept;
  MpiComm& operator=(MpiComm&&) = delete;
  // Collective, unless an exception passes or abandon() was called.
  ~MpiComm();

  MPI_Comm get() const { return comm_; }
  int rank() const;
  int size() const;
  // Leaves the communicator to MPI_Finalize, because operations on it were not finished.
  void abandon() { comm_ = MPI_COMM_NULL; }

 private:
  explicit MpiComm(MPI_Comm comm) : comm_(comm) {}
  MpiComm(MPI_Comm comm, const std::string& name);
  MPI_Comm comm_;
};

}  // namespace snell::dist
