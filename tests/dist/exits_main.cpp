// Ends in the way that its argument names; exit_codes.sh looks at what mpirun returns.
#include <iostream>
#include <string>

#include <ATen/ops/ones.h>

#include "snell/dist/config.h"
#include "snell/dist/mpi.h"

namespace snell::dist {

static int run(const std::string& how, bool launched) {
  const auto control = make_control_plane();
  const auto communicator = make_communicator({}, *control, at::kCPU, "gradients");
  const bool last = control->rank() == control->size() - 1;
  if (how == "fine") {
    communicator->all_reduce(at::ones({1000}), ReduceOp::kSum);
    std::cout << "ranks " << control->size() << ", launched " << launched << "\n";
    return 0;
  }
  if (how == "agreed")
    control->agree_ok(last ? std::optional<std::string>("no such file") : std::nullopt, core::ExitCode::kData);
  if (how == "alone" && last) throw core::NonFiniteError("the loss is NaN");
  if (how == "unwinding" && last) {
    const auto work = communicator->all_reduce_async(at::ones({1000}), ReduceOp::kSum);
    throw core::NonFiniteError("thrown while a collective is under way");
  }
  control->barrier();  // the others wait here for a rank that never comes
  return 0;
}

static int fail(const core::Error& error) {
  std::cerr << core::str(error.what(), "\n");  // one write: the ranks share the terminal
  return static_cast<int>(error.exit_code());
}

static int run_in_session(int argc, char** argv) {
  MpiSession mpi(&argc, &argv);
  try {
    return run(argc > 1 ? argv[1] : "", mpi.launched());
  } catch (const AgreedError& error) {
    return fail(error);
  } catch (const core::Error& error) {
    fail(error);
    mpi.abort(error.exit_code());
  }
}

}  // namespace snell::dist

int main(int argc, char** argv) {
  try {
    return snell::dist::run_in_session(argc, argv);
  } catch (const snell::core::Error& error) {
    return snell::dist::fail(error);
  }
}
