// chain.jsonl: what each step of a reproducible run came to, as hashes, each line bound to all lines before it. `snell
// verify` replays steps and compares. XXH3-128 finds faults of hardware and programs; it is no seal against forgery.
//
// One JSON object a line. The file begins with a "part", the next ones stand where the run went on:
//   {"event": "part", "format": 1, "step": 120 (steps done), "ranks", "threads", "device", "version",
//   "instruction_set",
//    "state", "link", "config": {…}}
//   {"event": "step", "step": 121, "loss", "shards": [V hashes], "sum", "state", "link"}
//
// Hashes are 32 hexadecimal digits. With integers as 64-bit and hashes as 2 × 64-bit little-endian words (low first),
// and the loss as a float64 (null: all bits 1),
//   link of the first part = H("snell chain 1" + step + state),    of a later part: the link before it,
//   link of a step         = H(link before + step + V + shards + sum + state + loss).
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "snell/ckpt/checkpoint.h"
#include "snell/core/hash.h"
#include "snell/io/files.h"

namespace snell::train {

inline constexpr const char* kChainName = "chain.jsonl";
// In a checkpoint manifest's `extra`: the link of its step.
inline constexpr const char* kChainLink = "chain_link";
// "" where the checkpoint was written without a chain.
std::string chain_link_of(const ckpt::Manifest& manifest);

struct ChainRecord {
  int64_t step = 0;                   // steps done, this one included
  std::vector<core::Hash128> shards;  // the gradients of each virtual shard
  core::Hash128 sum;                  // the summed gradients, before clipping
  core::Hash128 state;                // state_hash() after the step
  double loss = 0;                    // not a number: it was not finite
  core::Hash128 link;
};

// What else a replay must have alike.
struct ChainFacts {
  std::string version;          // of the program and of LibTorch
  std::string instruction_set;  // of this program's kernels, and LibTorch's
  int64_t threads = 1;          // LibTorch's, a rank
  std::string device = "cpu";
};

// A stretch of steps that one process group made.
struct ChainPart {
  int64_t step = 0;  // steps done at its start
  int64_t ranks = 1;
  ChainFacts facts;
  core::Hash128 state, link;  // at its start
  nlohmann::json config;
};

struct Chain {
  std::vector<ChainPart> parts;      // at least one
  std::vector<ChainRecord> records;  // of steps first_step() + 1, first_step() + 2, …

  int64_t first_step() const { return parts.front().step; }
  int64_t last_step() const { return first_step() + static_cast<int64_t>(records.size()); }
  bool covers(int64_t step) const { return step >= first_step() && step <= last_step(); }
  // Of a covered step; record() of one after first_step().
  const ChainRecord& record(int64_t step) const;
  core::Hash128 link_after(int64_t step) const;
  core::Hash128 state_after(int64_t step) const;
  // The part in which a step (after first_step()) was made.
  const ChainPart& part_of(int64_t step) const;
};

core::Hash128 first_link(int64_t step, const core::Hash128& state);
// Of `record`, whose own link is not looked at.
core::Hash128 next_link(const core::Hash128& before, const ChainRecord& record);

// Of what a step leaves behind: names and bytes of `tensors`, in their order.
core::Hash128 state_hash(std::span<const ckpt::TensorRef> tensors);

// Of this process as it is now.
ChainFacts own_facts(const std::string& device);

std::string line_of(const ChainPart& part);
std::string line_of(const ChainRecord& record);

// Reads a whole chain and checks every link; a torn last line is left out. Throws WeightsError that names line and
// step.
Chain read_chain(const std::string& path);

// Rank 0's end of the chain of a run under way. A line is one write(); flush() before each checkpoint takes them to the
// disk, so that no checkpoint is newer than the chain. Throws DiskError.
class ChainWriter {
 public:
  // Begins with `start`, whose link is set here. A fresh run (no `resumed`) begins a new chain, and one that was there
  // is kept as <path>.previous. A resumed one goes on with the chain that is there, from which the steps after
  // start.step go; without a chain, or with one that ended earlier, a new one begins at start.step, with a warning.
  // Throws WeightsError where the chain does not lead to start.state and `checkpoint_link` ("": not known).
  ChainWriter(std::string path, ChainPart start, bool resumed, const std::string& checkpoint_link);

  // Sets the record's link.
  void add(ChainRecord record);
  void flush();
  const core::Hash128& link() const { return link_; }

 private:
  void append(std::string line);

  std::string path_;
  io::FileDescriptor file_;
  core::Hash128 link_;
};

}  // namespace snell::train
