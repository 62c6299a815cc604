#include "snell/plan/cost.h"

#include <algorithm>
#include <cmath>

namespace snell::plan {
namespace {

double or_else(double value, double otherwise) {
  return value > 0 ? value : otherwise;
}

double gemm_peak(const Rates& rates, int64_t element_size) {
  if (element_size == 2) return or_else(rates.gemm_gflops_16bit, rates.gemm_gflops);
  if (element_size == 8) return or_else(rates.gemm_gflops_float64, rates.gemm_gflops / 2);
  return rates.gemm_gflops;
}

double gemm_seconds(const Op& op, const Rates& rates) {
  const auto reached = [](int64_t side, double half) {
    const auto length = static_cast<double>(side);
    return length / (length + half);
  };
  const double gflops = gemm_peak(rates, op.element_size) * reached(op.m, rates.gemm_half_m) *
                        reached(op.n, rates.gemm_half_n) * reached(op.k, rates.gemm_half_k);
  return op.flops > 0 ? op.flops / (gflops * 1e9) : 0;
}

double delta_build_seconds(const Op& op, const Rates& r) {
  const auto columns = static_cast<double>(op.columns);
  if (r.delta_build_ns == 0 && r.delta_build_ns_column == 0) {
    return std::max(op.flops / (or_else(r.vector_gflops, r.gemm_gflops) * 1e9), op.bytes / (r.memory_gbyte * 1e9));
  }
  const double ns = r.delta_build_ns + columns * r.delta_build_ns_column + (op.selects ? r.delta_select_ns : 0);
  return op.entries * ns * 1e-9;
}

double delta_grads_seconds(const Op& op, const Rates& r) {
  const auto columns = static_cast<double>(op.columns);
  if (r.delta_grads_ns == 0 && r.delta_grads_ns_column == 0) {
    return std::max(op.flops / (or_else(r.vector_gflops, r.gemm_gflops) * 1e9), op.bytes / (r.memory_gbyte * 1e9));
  }
  const double ns = r.delta_grads_ns + columns * (r.delta_grads_ns_column + op.kept * r.delta_grads_ns_kept_column);
  return op.entries * ns * 1e-9;
}

double busy_seconds(const Op& op, const Rates& r) {
  const auto by_flops = [&](double gflops) {
    return op.flops / (or_else(gflops, gemm_peak(r, op.element_size)) * 1e9);
  };
  const auto by_bytes = [&](double gbyte) { return op.bytes / (or_else(gbyte, r.memory_gbyte) * 1e9); };
  switch (op.kind) {
    case OpKind::kGemm:
      return gemm_seconds(op, r);
    case OpKind::kAttention:
      return by_flops(r.attention_gflops);
    case OpKind::kAttentionBackward:
      return by_flops(r.attention_backward_gflops);
    case OpKind::kConvolution:
      return by_flops(r.convolution_gflops);
    case OpKind::kNorm:
      return by_bytes(r.norm_gbyte);
    case OpKind::kNormBackward:
      return by_bytes(r.norm_backward_gbyte);
    case OpKind::kGelu:
      return by_bytes(r.gelu_gbyte);
    case OpKind::kGeluBackward:
      return by_bytes(r.gelu_backward_gbyte);
    case OpKind::kSoftmax:
      return by_bytes(r.softmax_gbyte);
    case OpKind::kCopy:
      return by_bytes(r.copy_gbyte);
    case OpKind::kRandom:
      return by_bytes(r.random_gbyte);
    case OpKind::kUpdate:
      return by_bytes(r.update_gbyte);
    case OpKind::kDeltaBuild:
      return delta_build_seconds(op, r);
    case OpKind::kDeltaGrads:
      return delta_grads_seconds(op, r);
    case OpKind::kElementwise:
    case OpKind::kCount:
      break;
  }
  return by_bytes(0);
}

// --- collectives ---

double log2_ceil(int64_t count) {
  return count <= 1 ? 0 : std::ceil(std::log2(static_cast<double>(count)));
}

// Links of a group of ranks: seconds a message, bytes a second of one rank's stream through all of them.
struct Wire {
  double latency, bytes_per_s;
};

Wire within_node(const Machine& m) {
  return {m.intra_node_latency_us * 1e-6, m.intra_node_gbyte * 1e9};
}
// `streams`: of the node's ranks that send to other nodes at the same time.
Wire across_nodes(const Machine& m, int64_t streams) {
  const double share = m.inter_node_bytes_per_s() / static_cast<double>(streams);
  return {m.inter_node_latency_us * 1e-6, std::min(share, m.intra_node_gbyte * 1e9)};
}

double ring_all_reduce(double bytes, int64_t count, const Wire& wire) {
  const auto n = static_cast<double>(count);
  return 2 * (n - 1) * (wire.latency + bytes / n / wire.bytes_per_s);
}
double ring_gather(double part, int64_t count, const Wire& wire) {
  return static_cast<double>(count - 1) * (wire.latency + part / wire.bytes_per_s);
}
// A pipelined tree up and down: every byte passes twice, the stages' latencies add.
double tree_all_reduce(double bytes, const Ranks& ranks, const Machine& m) {
  const double stages = log2_ceil(ranks.on_node()) * within_node(m).latency +
                        (ranks.nodes() > 1 ? log2_ceil(ranks.nodes()) * across_nodes(m, 1).latency : 0);
  const double rate = ranks.nodes() > 1 ? across_nodes(m, 1).bytes_per_s : within_node(m).bytes_per_s;
  return 2 * (stages + bytes / rate);
}

double two_level_all_reduce(double bytes, const Ranks& ranks, const Machine& m) {
  const int64_t local = ranks.on_node();
  const double part = bytes / static_cast<double>(local);
  return 2 * ring_gather(part, local, within_node(m)) + ring_all_reduce(part, ranks.nodes(), across_nodes(m, local));
}

double all_reduce_seconds(double bytes, const Ranks& ranks, const Machine& m, TwoLevel two_level) {
  if (ranks.nodes() == 1) {
    return std::min(ring_all_reduce(bytes, ranks.count, within_node(m)), tree_all_reduce(bytes, ranks, m));
  }
  const double levels = two_level_all_reduce(bytes, ranks, m);
  const double flat =
      std::min(ring_all_reduce(bytes, ranks.count, across_nodes(m, 1)), tree_all_reduce(bytes, ranks, m));
  if (two_level == TwoLevel::kAlways) return levels;
  return two_level == TwoLevel::kNever ? flat : std::min(levels, flat);
}

// What a rank sends, the mean over the ranks.
double sent(Collective kind, double bytes, int64_t count) {
  const auto n = static_cast<double>(count);
  switch (kind) {
    case Collective::kAllReduce:
      return 2 * (n - 1) / n * bytes;
    case Collective::kAllGather:
      return (n - 1) * bytes;
    default:
      return (n - 1) / n * bytes;
  }
}

// One way of a binomial tree over whole messages, as Open MPI's non-blocking collectives make it.
double mpi_tree(double bytes, const Ranks& ranks, const Machine& m) {
  double seconds = 0;
  if (ranks.on_node() > 1 && !m.shared_cores) {
    const Wire wire = within_node(m);
    seconds += log2_ceil(ranks.on_node()) * (wire.latency + bytes / wire.bytes_per_s);
  }
  if (ranks.nodes() > 1) {
    const Wire wire = across_nodes(m, 1);
    seconds += log2_ceil(ranks.nodes()) * (wire.latency + bytes / wire.bytes_per_s);
  }
  return seconds;
}

}  // namespace

double op_seconds(const Op& op, const Rates& rates, bool shared_cores) {
  return busy_seconds(op, rates) + (shared_cores ? rates.op_overhead_us * 1e-6 : 0);
}

CollectiveCost collective_cost(Collective kind, double bytes, const Ranks& ranks, const Machine& m,
                               TwoLevel two_level) {
  CollectiveCost cost;
  if (ranks.count <= 1 || bytes <= 0) return cost;
  const int64_t local = ranks.on_node(), nodes = ranks.nodes();
  cost.sent_bytes = sent(kind, bytes, ranks.count);
  // Copied and added up by the ranks' own cores; within a node nothing else takes time.
  if (m.shared_cores) {
    cost.core_seconds = cost.sent_bytes / (m.intra_node_gbyte * 1e9);
    if (nodes == 1) {
      cost.seconds = log2_ceil(ranks.count) * 2 * m.intra_node_latency_us * 1e-6;
      return cost;
    }
  }
  const Wire wire = nodes == 1 ? within_node(m) : across_nodes(m, 1);
  switch (kind) {
    case Collective::kAllReduce:
      if (m.collectives == "mpi") {
        cost.seconds = cost.seconds_back = mpi_tree(bytes, ranks, m);
      } else {
        cost.seconds = all_reduce_seconds(bytes, ranks, m, two_level);
      }
      break;
    case Collective::kAllGather:
      cost.seconds = ring_gather(bytes, ranks.count, wire);
      break;
    case Collective::kReduceScatter:
      cost.seconds = ring_gather(bytes / static_cast<double>(ranks.count), ranks.count, wire);
      break;
    case Collective::kAllToAll: {
      const double inside = static_cast<double>(local - 1) / static_cast<double>(ranks.count) * bytes;
      const double outside = static_cast<double>(ranks.count - local) / static_cast<double>(ranks.count) * bytes;
      cost.seconds = static_cast<double>(ranks.count - 1) * wire.latency +
                     std::max(m.shared_cores ? 0 : inside / within_node(m).bytes_per_s,
                              nodes > 1 ? outside / across_nodes(m, local).bytes_per_s : 0);
      break;
    }
    case Collective::kBroadcast:
    case Collective::kCount:
      cost.seconds = log2_ceil(ranks.count) * wire.latency + bytes / wire.bytes_per_s;
      break;
  }
  return cost;
}

}  // namespace snell::plan
