#include "snell/plan/machine.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "snell/config/binder.h"
#include "snell/config/loader.h"
#include "snell/config/override.h"
#include "snell/config/search_path.h"
#include "snell/core/error.h"

namespace snell::plan {
namespace {

using config::at_least;
using config::positive;
using core::str;

namespace fs = std::filesystem;

// machines/ beside each folder of configs.
std::vector<fs::path> machine_folders(const std::string& config_dir) {
  std::vector<fs::path> out;
  for (const auto& folder : config::find_configs(config_dir).folders) {
    out.push_back(fs::absolute(folder).lexically_normal().parent_path() / "machines");
  }
  return out;
}

config::Node read_node(const std::string& name, const std::string& config_dir) {
  if (name.ends_with(".yaml")) return config::load_yaml_file(name);
  const config::ConfigSearchPath path{machine_folders(config_dir)};
  const auto file = path.find(name);
  if (file) return config::load_yaml_file(*file);
  std::vector<std::string> known;
  std::error_code ignored;
  for (const auto& folder : path.folders) {
    for (const auto& entry : fs::directory_iterator(folder, ignored)) known.push_back(entry.path().stem().string());
  }
  std::ranges::sort(known);
  const std::string near = core::nearest_match(name, known);
  throw core::ConfigError(str("unknown machine '", name, "'; known: ", core::join(known),
                              near.empty() ? "" : str(". Did you mean '", near, "'?"),
                              " A file of your own is named with its .yaml: snell plan --calibrate > mine.yaml"));
}

// "rates.gemm_gflops=80" into the tree.
void change(config::Node& root, const std::string& text) {
  const config::Override parsed = config::parse_override(text);
  if (parsed.kind != config::Override::Kind::kChange || !parsed.value) {
    throw core::ConfigError(str("'machine.", text, "' is no change of a machine's number; write machine.key=value"));
  }
  config::Node* at = &root;
  const auto path = config::split_path(parsed.key);
  for (size_t i = 0; i + 1 < path.size(); ++i) {
    config::Node* next = at->find(path[i]);
    at = next != nullptr ? next : &at->set(path[i], config::Node::mapping(parsed.origin()));
  }
  at->set(path.back(), *parsed.value);
}

std::string number(double value) {
  char text[40];
  std::snprintf(text, sizeof text, "%.5g", value);
  return text;
}

}  // namespace

void bind(config::Binder& b, Rates& r) {
  b.field("ranks", r.ranks, "on the node while these were measured; 0: these are not given", at_least(0));
  b.field("gemm_gflops", r.gemm_gflops, "matrix products of float32, 10^9 a second", positive());
  b.field("gemm_gflops_16bit", r.gemm_gflops_16bit, "of bfloat16 and float16; 0: gemm_gflops", at_least(0));
  b.field("gemm_gflops_float64", r.gemm_gflops_float64, "of float64; 0: half of gemm_gflops", at_least(0));
  b.field("gemm_half_m", r.gemm_half_m, "rows at which half of gemm_gflops is reached", at_least(0));
  b.field("gemm_half_n", r.gemm_half_n, "columns at which it is", at_least(0));
  b.field("gemm_half_k", r.gemm_half_k, "summed elements at which it is", at_least(0));
  b.field("attention_gflops", r.attention_gflops, "fused attention; 0: as matrix products", at_least(0));
  b.field("attention_backward_gflops", r.attention_backward_gflops, "its backward pass; 0: likewise", at_least(0));
  b.field("convolution_gflops", r.convolution_gflops, "convolutions; 0: as matrix products", at_least(0));
  b.field("vector_gflops", r.vector_gflops, "ΔW, where no delta_ number is given; 0: gemm_gflops", at_least(0));
  b.field("memory_gbyte", r.memory_gbyte, "10^9 bytes read and written a second, element by element", positive());
  const auto bytes = [&b](const char* key, double& value, const char* what) {
    b.field(key, value, str("the same of ", what, "; 0: memory_gbyte"), at_least(0));
  };
  bytes("norm_gbyte", r.norm_gbyte, "norms");
  bytes("norm_backward_gbyte", r.norm_backward_gbyte, "norms' backward pass");
  bytes("gelu_gbyte", r.gelu_gbyte, "GELU");
  bytes("gelu_backward_gbyte", r.gelu_backward_gbyte, "GELU's backward pass");
  bytes("softmax_gbyte", r.softmax_gbyte, "softmax");
  bytes("copy_gbyte", r.copy_gbyte, "copies and gathers");
  bytes("random_gbyte", r.random_gbyte, "dropout");
  bytes("update_gbyte", r.update_gbyte, "the optimizer");
  b.field("delta_build_ns", r.delta_build_ns, "nanoseconds an entry of ΔW to build it", at_least(0));
  b.field("delta_build_ns_column", r.delta_build_ns_column, "and for each column of its factors", at_least(0));
  b.field("delta_select_ns", r.delta_select_ns, "an entry to find the threshold", at_least(0));
  b.field("delta_grads_ns", r.delta_grads_ns, "an entry for the factors' gradients", at_least(0));
  b.field("delta_grads_ns_column", r.delta_grads_ns_column, "and for each column", at_least(0));
  b.field("delta_grads_ns_kept_column", r.delta_grads_ns_kept_column, "and for each of an entry that stays",
          at_least(0));
  b.field("op_overhead_us", r.op_overhead_us, "microseconds a call of an operation", at_least(0));
}

void bind(config::Binder& b, Machine& m) {
  b.field("name", m.name, "of the machine");
  b.field("source", m.source, "where its numbers come from");
  b.field("nodes", m.nodes, "how many there are", at_least(1));
  b.field("ranks_per_node", m.ranks_per_node, "GPUs of a node, or processes on a CPU node", at_least(1));
  b.field("memory_gb", m.memory_gb, "of a GPU, or of a CPU node, 10^9 bytes; 0: not known", at_least(0));
  b.field("reserved_gb", m.reserved_gb, "of each GPU's memory that tensors cannot use", at_least(0));
  b.field("shared_cores", m.shared_cores, "whether a node's ranks share cores and memory (CPU)");
  b.field("collectives", m.collectives, "ring (NCCL's best), mpi (Open MPI's trees)", config::one_of({"ring", "mpi"}));
  b.field("intra_node_gbyte", m.intra_node_gbyte,
          "10^9 bytes a second a rank sends within a node; with shared_cores: a second of its cores", positive());
  b.field("intra_node_latency_us", m.intra_node_latency_us, "microseconds a message within a node", at_least(0));
  b.field("inter_node_gbit", m.inter_node_gbit, "10^9 bits a second a node sends", positive());
  b.field("inter_node_latency_us", m.inter_node_latency_us, "microseconds a message between nodes", at_least(0));
  b.field("wire_efficiency", m.wire_efficiency, "payload's share of inter_node_gbit", config::in_range(0.01, 1));
  b.section("rates", m.rates);
  b.section("rates_alone", m.rates_alone);
  b.require(m.rates.ranks > 0, "rates.ranks", "must be at least 1");
  b.require(m.reserved_gb == 0 || m.reserved_gb < m.memory_gb, "reserved_gb", "must be less than memory_gb");
}

double Machine::memory_bytes_a_rank(int64_t ranks_on_node) const {
  if (shared_cores) return memory_gb * 1e9 / static_cast<double>(std::max<int64_t>(1, ranks_on_node));
  return std::max(0.0, memory_gb - reserved_gb) * 1e9;
}

double Machine::inter_node_bytes_per_s() const {
  return inter_node_gbit * 1e9 / 8 * wire_efficiency;
}

Rates Machine::rates_of(int64_t ranks_on_node) const {
  if (ranks_on_node == 1 && rates_alone.ranks > 0) return rates_alone;
  Rates out = rates;
  if (!shared_cores || ranks_on_node == rates.ranks) return out;
  const double share = static_cast<double>(rates.ranks) / static_cast<double>(ranks_on_node);
  for (double* rate : {&out.gemm_gflops, &out.gemm_gflops_16bit, &out.gemm_gflops_float64, &out.attention_gflops,
                       &out.attention_backward_gflops, &out.convolution_gflops, &out.vector_gflops, &out.memory_gbyte,
                       &out.norm_gbyte, &out.norm_backward_gbyte, &out.gelu_gbyte, &out.gelu_backward_gbyte,
                       &out.softmax_gbyte, &out.copy_gbyte, &out.random_gbyte, &out.update_gbyte}) {
    *rate *= share;
  }
  for (double* time : {&out.delta_build_ns, &out.delta_build_ns_column, &out.delta_select_ns, &out.delta_grads_ns,
                       &out.delta_grads_ns_column, &out.delta_grads_ns_kept_column}) {
    *time /= share;
  }
  return out;
}

Machine read_machine(const std::string& name, const std::string& config_dir,
                     const std::vector<std::string>& overrides) {
  config::Node root = read_node(name, config_dir);
  for (const auto& text : overrides) change(root, text);
  Machine machine;
  config::bind_section(root, "", machine);
  return machine;
}

namespace {

std::string yaml_of(const Rates& r, const std::string& name) {
  std::string out = name + ":\n";
  const auto line = [&](const char* key, double value) {
    if (value != 0) out += str("  ", key, ": ", number(value), "\n");
  };
  out += str("  ranks: ", r.ranks, "\n");
  line("gemm_gflops", r.gemm_gflops);
  line("gemm_gflops_16bit", r.gemm_gflops_16bit);
  line("gemm_gflops_float64", r.gemm_gflops_float64);
  line("gemm_half_m", r.gemm_half_m);
  line("gemm_half_n", r.gemm_half_n);
  line("gemm_half_k", r.gemm_half_k);
  line("attention_gflops", r.attention_gflops);
  line("attention_backward_gflops", r.attention_backward_gflops);
  line("convolution_gflops", r.convolution_gflops);
  line("vector_gflops", r.vector_gflops);
  line("memory_gbyte", r.memory_gbyte);
  line("norm_gbyte", r.norm_gbyte);
  line("norm_backward_gbyte", r.norm_backward_gbyte);
  line("gelu_gbyte", r.gelu_gbyte);
  line("gelu_backward_gbyte", r.gelu_backward_gbyte);
  line("softmax_gbyte", r.softmax_gbyte);
  line("copy_gbyte", r.copy_gbyte);
  line("random_gbyte", r.random_gbyte);
  line("update_gbyte", r.update_gbyte);
  line("delta_build_ns", r.delta_build_ns);
  line("delta_build_ns_column", r.delta_build_ns_column);
  line("delta_select_ns", r.delta_select_ns);
  line("delta_grads_ns", r.delta_grads_ns);
  line("delta_grads_ns_column", r.delta_grads_ns_column);
  line("delta_grads_ns_kept_column", r.delta_grads_ns_kept_column);
  line("op_overhead_us", r.op_overhead_us);
  return out;
}

}  // namespace

std::string to_yaml(const Machine& m) {
  std::string out = str("name: ", m.name, "\nsource: \"", m.source, "\"\nnodes: ", m.nodes,
                        "\nranks_per_node: ", m.ranks_per_node, "\nmemory_gb: ", number(m.memory_gb));
  if (m.reserved_gb > 0) out += "\nreserved_gb: " + number(m.reserved_gb);
  out += str(
      "\nshared_cores: ", m.shared_cores ? "true" : "false", "\ncollectives: ", m.collectives,
      "\nintra_node_gbyte: ", number(m.intra_node_gbyte), "\nintra_node_latency_us: ", number(m.intra_node_latency_us),
      "\ninter_node_gbit: ", number(m.inter_node_gbit), "\ninter_node_latency_us: ", number(m.inter_node_latency_us),
      "\nwire_efficiency: ", number(m.wire_efficiency), "\n");
  out += yaml_of(m.rates, "rates");
  if (m.rates_alone.ranks > 0) out += yaml_of(m.rates_alone, "rates_alone");
  return out;
}

}  // namespace snell::plan
