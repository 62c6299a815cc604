// A machine as numbers: what `snell plan --machine` reads (machines/*.yaml, or a file that `snell plan --calibrate`
// printed). One rank is one GPU, or one process on a CPU node.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace snell::config {
class Binder;
}

namespace snell::plan {

// How fast one rank computes. 0 where a number says "not given": the line tells what serves instead.
struct Rates {
  int64_t ranks = 1;  // on the node while these were measured (see Machine::shared_cores); 0: these are not given
  // Matrix products: rate = gflops · m/(m + half_m) · n/(n + half_n) · k/(k + half_k).
  double gemm_gflops = 100;        // float32
  double gemm_gflops_16bit = 0;    // bfloat16, float16; 0: gemm_gflops
  double gemm_gflops_float64 = 0;  // 0: half of gemm_gflops
  double gemm_half_m = 0, gemm_half_n = 0, gemm_half_k = 0;
  double attention_gflops = 0;           // 0: gemm_gflops of the type
  double attention_backward_gflops = 0;  // 0: as above
  double convolution_gflops = 0;         // 0: as above
  double vector_gflops = 0;              // ΔW's distances where the delta_… numbers are 0
  // Bytes read and written a second by the kinds of operations.
  double memory_gbyte = 10;  // what no line below is about
  double norm_gbyte = 0, norm_backward_gbyte = 0, gelu_gbyte = 0, gelu_backward_gbyte = 0;  // 0: memory_gbyte
  double softmax_gbyte = 0, copy_gbyte = 0, random_gbyte = 0, update_gbyte = 0;             // 0: memory_gbyte
  // Nanoseconds an entry of ΔW: a constant, a part a column of the factors, and for the gradients a part a column for
  // each entry that stays. All 0: by vector_gflops.
  double delta_build_ns = 0, delta_build_ns_column = 0, delta_select_ns = 0;
  double delta_grads_ns = 0, delta_grads_ns_column = 0, delta_grads_ns_kept_column = 0;
  double op_overhead_us = 0;  // a call of an operation; of the host, where ranks have GPUs
};

struct Machine {
  std::string name = "machine";
  std::string source = "computed";  // where the numbers come from: "computed, not measured: …", "measured …"
  int64_t nodes = 1;
  int64_t ranks_per_node = 1;  // GPUs; on a CPU node processes
  double memory_gb = 0;        // of a GPU, or of a CPU node (10^9 bytes); 0: not known
  double reserved_gb = 0;      // of each GPU that tensors cannot use: context, libraries, what the allocator loses
  // CPU nodes: the ranks of a node share its memory, cores and bandwidths, so that rates measured with r ranks are
  // divided by n / r where n run, and a collective within the node takes its time from computing.
  bool shared_cores = false;
  // ring: rings, trees, or a node first, whichever is fastest (NCCL). mpi: Open MPI's non-blocking all-reduce, a
  // binomial tree up and another down.
  std::string collectives = "ring";
  // One direction a rank, bytes of payload a second (10^9); with shared_cores: bytes that a rank sends, within the node
  // or out of it, a second of its cores' time.
  double intra_node_gbyte = 1;
  double intra_node_latency_us = 1;  // a message
  double inter_node_gbit = 1;        // one direction a node
  double inter_node_latency_us = 50;
  double wire_efficiency = 0.94;  // payload's share of inter_node_gbit
  Rates rates;                    // of a rank beside ranks_per_node - 1 others
  Rates rates_alone{.ranks = 0};  // of the only rank on a node; where they are not given: as rates

  double memory_bytes_a_rank(int64_t ranks_on_node) const;
  double inter_node_bytes_per_s() const;
  // Of each of `ranks_on_node` ranks.
  Rates rates_of(int64_t ranks_on_node) const;
};

void bind(config::Binder& binder, Rates& rates);
void bind(config::Binder& binder, Machine& machine);

// `name`: a file of the folder machines beside the configs, or a path that ends in .yaml. `overrides`: "key=value",
// such as "inter_node_gbit=1" or "rates.gemm_gflops=80". Throws ConfigError that names the key and what is allowed.
Machine read_machine(const std::string& name, const std::string& config_dir, const std::vector<std::string>& overrides);

// As such a file.
std::string to_yaml(const Machine& machine);

}  // namespace snell::plan
