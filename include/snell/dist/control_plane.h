// The control plane: small messages between the ranks of a job, apart from the tensors. Who am I, what did rank 0
// decide, did everybody succeed. Implementations: MPI (on a communicator of its own) and one process.
//
// Every rank calls the same collective functions in the same order. One thread a process uses a control plane. Waiting
// sleeps between its looks, so that a rank that waits for rank 0's disk burns no core.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "snell/core/error.h"

namespace snell::dist {

// An error that every rank throws at the same place: main() may end MPI in the ordinary way and return the exit code.
class AgreedError : public core::Error {
 public:
  AgreedError(core::ExitCode code, const std::string& message,
              std::source_location where = std::source_location::current())
      : core::Error(code, message, where) {}
};

class ControlPlane {
 public:
  virtual ~ControlPlane() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual int local_rank() const = 0;  // among the ranks of this node
  virtual int local_size() const = 0;
  virtual int node_leader() const { return rank() - local_rank(); }  // the lowest rank of this node
  bool is_root() const { return rank() == 0; }
  static std::string hostname();

  virtual void barrier() = 0;
  // The root's bytes, on every rank; what the others pass is ignored.
  virtual std::string broadcast(const std::string& bytes, int root = 0) = 0;
  // One value a rank, in order of ranks, on every rank.
  virtual std::vector<int64_t> all_gather_ints(int64_t value) = 0;
  virtual std::vector<std::string> all_gather_strings(const std::string& bytes) = 0;
  // The same on the root only; empty elsewhere.
  virtual std::vector<std::string> gather_strings(const std::string& bytes, int root = 0) = 0;

  // Waits for all ranks to call this, at most `limit_s` (a second limit where rank 0 is late); returns those that did
  // not come, on those that did. Afterwards, unless all came, the control plane must not be used: it is time to end.
  virtual std::vector<int> roll_call(double limit_s);

  bool all_agree(bool yes);
  bool any(bool yes);
  int64_t max(int64_t value);
  int64_t sum(int64_t value);

  // Throws AgreedError on every rank when any rank passes an error: with the message and the code of the lowest such
  // rank, whose number and host the message names.
  void agree_ok(const std::optional<std::string>& error, core::ExitCode code = core::ExitCode::kInternal);

  // Runs `action` on every rank, and agrees on how it went. `action` must call no collectives.
  void all_or_none(const std::function<void()>& action);

  // Rank 0 runs `decide`; every rank returns its result, or throws AgreedError with rank 0's error.
  std::string root_decides(const std::function<std::string()>& decide);
};

// A world of one; needs no MPI.
class SelfControlPlane : public ControlPlane {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  int local_rank() const override { return 0; }
  int local_size() const override { return 1; }
  void barrier() override {}
  std::string broadcast(const std::string& bytes, int) override { return bytes; }
  std::vector<int64_t> all_gather_ints(int64_t value) override { return {value}; }
  std::vector<std::string> all_gather_strings(const std::string& bytes) override { return {bytes}; }
  std::vector<std::string> gather_strings(const std::string& bytes, int) override { return {bytes}; }
};

// Over all ranks of MPI's world when MPI runs (MpiSession), else a world of one. Collective.
std::unique_ptr<ControlPlane> make_control_plane();

}  // namespace snell::dist
