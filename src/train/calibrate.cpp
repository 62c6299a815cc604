#include "snell/train/calibrate.h"

#include <ATen/Parallel.h>
#include <ATen/ops/zeros.h>
#include <sched.h>
#include <unistd.h>

#include <ctime>

#include <algorithm>
#include <cmath>
#include <vector>

#include "calibrate_rates.h"
#include "snell/core/timer.h"
#include "snell/dist/config.h"
#include "snell/train/threads.h"

namespace snell::train {
namespace {

// Cores that this process may run on.
int64_t num_cores() {
  cpu_set_t set;
  return ::sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : ::sysconf(_SC_NPROCESSORS_ONLN);
}

struct SumTime {
  double wall = 0;   // the median
  double cores = 0;  // of this process, the mean
};

double core_seconds() {
  timespec time{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

SumTime all_reduce_time(dist::Communicator& communicator, int64_t bytes, int repeats) {
  at::Tensor tensor = at::zeros({bytes / 4}, at::kFloat);
  communicator.all_reduce(tensor, dist::ReduceOp::kSum);
  std::vector<double> wall;
  SumTime out;
  for (int i = 0; i < repeats; ++i) {
    communicator.barrier();
    const core::Timer timer;
    const double before = core_seconds();
    communicator.all_reduce(tensor, dist::ReduceOp::kSum);
    wall.push_back(timer.seconds());
    out.cores += (core_seconds() - before) / repeats;
  }
  std::ranges::sort(wall);
  out.wall = wall[wall.size() / 2];
  return out;
}

// Latency, bandwidth and the cores' share out of a short and a long sum over all ranks, by the laws of plan/cost.cpp.
void measure_wire(plan::Machine& machine, dist::ControlPlane& control) {
  if (control.size() == 1) return;
  const auto communicator = dist::make_communicator({}, control, c10::Device(c10::DeviceType::CPU), "calibration");
  constexpr int64_t kShort = 4096, kLong = 64 << 20;
  const SumTime brief = all_reduce_time(*communicator, kShort, 50), full = all_reduce_time(*communicator, kLong, 5);
  const auto ranks = static_cast<double>(control.size());
  const double sent = 2 * (ranks - 1) / ranks * kLong;
  machine.intra_node_gbyte = 1e-9 * sent / std::max(1e-9, full.cores);
  machine.intra_node_latency_us = 1e6 * brief.wall / (2 * std::ceil(std::log2(ranks)));
  if (machine.nodes == 1) return;
  const double ways = 2 * std::ceil(std::log2(static_cast<double>(machine.nodes)));
  const double per_byte = std::max(1e-12, (full.wall - brief.wall) / (kLong - kShort));
  machine.inter_node_gbit = 8e-9 * ways / per_byte / machine.wire_efficiency;
  machine.inter_node_latency_us = 1e6 * brief.wall / ways;
}

}  // namespace

plan::Machine calibrate(dist::ControlPlane& control, const std::function<void(const std::string&)>& tell) {
  if (!dist::choose_device("auto", control).is_cpu()) {
    throw core::ConfigError(
        "snell plan --calibrate measures CPUs; for GPUs take a file of machines and change its numbers");
  }
  set_threads({}, control.local_size());
  plan::Machine machine;
  machine.name = dist::ControlPlane::hostname();
  machine.shared_cores = true;
  machine.collectives = "mpi";
  machine.ranks_per_node = control.local_size();
  machine.nodes = (control.size() + control.local_size() - 1) / control.local_size();
  machine.memory_gb =
      1e-9 * static_cast<double>(::sysconf(_SC_PHYS_PAGES)) * static_cast<double>(::sysconf(_SC_PAGESIZE));
  machine.source = core::str("measured by snell plan --calibrate: ", control.local_size(), " ranks a node, ",
                             at::get_num_threads(), at::get_num_threads() == 1 ? " thread each" : " threads each");
  tell(core::str("computing, ", control.size(), control.size() == 1 ? " rank" : " ranks at the same time"));
  machine.rates = measure_rates([&] { control.barrier(); });
  machine.rates.ranks = control.local_size();
  if (control.size() > 1) {
    tell("sums over the ranks");
    measure_wire(machine, control);
    if (machine.nodes == 1 && num_cores() >= control.local_size()) {
      tell("computing, one rank with all cores");
      if (control.is_root()) {
        at::set_num_threads(static_cast<int>(num_cores()));
        machine.rates_alone = measure_rates([] {});
        machine.rates_alone.ranks = 1;
      }
      control.barrier();
    }
  }
  return machine;
}

}  // namespace snell::train
