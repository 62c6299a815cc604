// Which device and which communicator this rank gets.
#include <ATen/Context.h>
#include <ATen/detail/CUDAHooksInterface.h>

#include "snell/core/text.h"
#include "snell/dist/config.h"
#include "snell/dist/mpi_communicator.h"
#include "snell/dist/self_communicator.h"
#ifdef SNELL_WITH_CUDA
#include "cuda_stream.h"
#include "snell/dist/nccl_communicator.h"
#endif

namespace snell::dist {

bool has_nccl() {
#ifdef SNELL_WITH_CUDA
  return true;
#else
  return false;
#endif
}

c10::Device choose_device(const std::string& wanted, ControlPlane& control) {
  const c10::Device cpu(c10::DeviceType::CPU);
  if (wanted == "cpu") return cpu;
  core::check(wanted == "cuda" || wanted == "auto", core::str("device '", wanted, "'"));
  const int64_t gpus = has_nccl() && at::hasCUDA() ? at::detail::getCUDAHooks().deviceCount() : 0;
  const bool enough = control.local_rank() < gpus;
  if (wanted == "auto" && !control.all_agree(enough)) return cpu;
  std::optional<std::string> error;
  if (!has_nccl()) {
    error = "run.device=cuda, but this program was built without CUDA (SNELL_CUDA=OFF); use run.device=cpu";
  } else if (!enough) {
    error = core::str("run.device=cuda needs one GPU a rank, but this node has ", control.local_size(), " ranks and ",
                      gpus, " GPUs; start fewer ranks, or use run.device=cpu");
  }
  control.agree_ok(error, core::ExitCode::kConfig);
  const c10::Device gpu(c10::DeviceType::CUDA, static_cast<c10::DeviceIndex>(control.local_rank()));
#ifdef SNELL_WITH_CUDA
  make_current(gpu);
#endif
  return gpu;
}

static std::unique_ptr<Communicator> make_nccl(const DistConfig& config, ControlPlane& control, c10::Device device,
                                               const RankGroup& group) {
#ifdef SNELL_WITH_CUDA
  return std::make_unique<NcclCommunicator>(real_nccl(), make_cuda_stream(device), control, device,
                                            NcclOptions{group, config.wire.init_timeout_s});
#else
  (void)config, (void)control, (void)group;
  throw core::ConfigError(
      core::str("dist.backend=nccl on ", device.str(),
                ", but this program was built without CUDA (SNELL_CUDA=OFF); use dist.backend=mpi"));
#endif
}

std::unique_ptr<Communicator> make_communicator(const DistConfig& config, ControlPlane& control, c10::Device device,
                                                const std::string& purpose) {
  if (config.backend == "self" && control.size() > 1) {
    throw core::ConfigError(core::str("dist.backend=self with ", control.size(),
                                      " ranks would train as many separate models; use auto, or start one rank"));
  }
  return make_communicator(config, control, device, purpose, whole_world(control));
}

std::unique_ptr<Communicator> make_communicator(const DistConfig& config, ControlPlane& control, c10::Device device,
                                                const std::string& purpose, const RankGroup& group) {
  std::string backend = config.backend;
  if (backend == "auto") {
    // Decided alike on all ranks: the other groups may be larger than this one.
    const bool alone = control.all_agree(group.size() == 1);
    backend = alone ? "self" : device.is_cuda() ? "nccl" : "mpi";
  }
  if (backend == "self") {
    core::check(group.size() == 1, core::str("dist.backend=self for a group of ", group.size(), " ranks"));
    return std::make_unique<SelfCommunicator>();
  }
  if (backend == "mpi") {
    if (device.is_cpu()) return std::make_unique<MpiCommunicator>(purpose, group);
    throw core::ConfigError(core::str("dist.backend=mpi moves CPU tensors, but run.device is ", device.str(),
                                      "; use dist.backend=nccl or auto"));
  }
  core::check(backend == "nccl", core::str("dist.backend '", backend, "'"));
  if (device.is_cuda()) return make_nccl(config, control, device, group);
  throw core::ConfigError("dist.backend=nccl moves CUDA tensors, but run.device is cpu; use dist.backend=mpi or auto");
}

}  // namespace snell::dist
