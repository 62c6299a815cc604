// What one rank does in one training step, in order: operations, and collectives that are started and waited for. The
// program's own step writes it down as it runs on shapes alone (train/op_trace.h); this module only does arithmetic on
// it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace snell::plan {

// Kinds of operations whose cost follows one law.
enum class OpKind {
  kGemm,               // matrix products: m, n, k, batch
  kAttention,          // flops
  kAttentionBackward,  // flops
  kConvolution,        // flops
  kNorm,               // from here on by the bytes that are read and written
  kNormBackward,
  kGelu,
  kGeluBackward,
  kSoftmax,
  kCopy,         // moving data about: copies, concatenation, gathers
  kElementwise,  // everything else that LibTorch does
  kRandom,       // dropout, drawing included
  kUpdate,       // the optimizer's
  kDeltaBuild,   // ΔW out of its factors: entries, columns
  kDeltaGrads,   // the factors' gradients out of dL/dΔW: entries, columns, kept
  kCount
};
const char* op_kind_name(OpKind kind);

struct Op {
  OpKind kind = OpKind::kElementwise;
  double flops = 0;                        // multiplications and additions
  double bytes = 0;                        // read and written
  int64_t m = 0, n = 0, k = 0, batch = 1;  // kGemm: [m, k] × [k, n], `batch` times
  double entries = 0;                      // of ΔW
  int64_t columns = 0;                     // of its factors, all heads together
  double kept = 1;                         // share of the entries that stay
  bool selects = false;                    // kDeltaBuild: whether a quantile is looked for
  int64_t element_size = 4;                // bytes
};

enum class Collective { kAllReduce, kAllGather, kReduceScatter, kAllToAll, kBroadcast, kCount };
const char* collective_name(Collective kind);

enum class Phase { kForward, kBackward, kUpdate, kCount };

struct Event {
  enum class Kind { kOp, kStart, kWait, kPhase };
  Kind kind = Kind::kOp;
  Op op;                                           // kOp
  Collective collective = Collective::kAllReduce;  // kStart
  double bytes = 0;                                // kStart: that this rank hands in
  int64_t ranks = 0;                               // kStart: neighbours that take part; 0: all of the trace's
  int64_t id = 0;                                  // kStart, kWait
  Phase phase = Phase::kForward;                   // kPhase: of what follows
};

struct Trace {
  std::vector<Event> events;
  int64_t ranks = 1;    // over which the collectives go
  int64_t next_id = 0;  // of the collectives that are written down; events may be cleared without it

  void add(const Op& op) { events.push_back({.op = op}); }
  void start(int64_t id, Collective collective, double bytes, int64_t of_ranks = 0) {
    events.push_back(
        {.kind = Event::Kind::kStart, .op = {}, .collective = collective, .bytes = bytes, .ranks = of_ranks, .id = id});
  }
  void wait(int64_t id) { events.push_back({.kind = Event::Kind::kWait, .op = {}, .id = id}); }
  void phase(Phase phase) { events.push_back({.kind = Event::Kind::kPhase, .op = {}, .phase = phase}); }

  double flops() const;
  double flops(OpKind kind) const;
  // Bytes that this rank hands to collectives of a kind.
  double bytes(Collective kind) const;
};

}  // namespace snell::plan
