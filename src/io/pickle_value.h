// What a Python pickle describes, as a tree of plain nodes. Nothing in a pickle is ever run or imported.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace snell::io {

using PickleId = uint32_t;  // a node's place in Pickle::nodes

enum class PickleKind : uint8_t {
  kNone,
  kBool,        // number
  kInt,         // number
  kBigInt,      // text: little-endian two's complement of more than eight bytes
  kFloat,       // without its value, which nothing here asks for
  kText,        // text: UTF-8
  kBytes,       // text
  kTuple,       // items
  kList,        // items; sets too
  kDict,        // items: key, value, key, value, ...; in the pickle's order, a repeated key stays repeated
  kGlobal,      // items: module, name (two texts). A name that is only mentioned.
  kPersistent,  // items: one, what stands for an object outside of the pickle (torch: a storage)
  kObject,      // items: callable (a kGlobal), arguments. What calling it would give; opaque.
};

struct PickleNode {
  PickleKind kind = PickleKind::kNone;
  uint16_t depth = 1;
  int64_t number = 0;
  std::string_view text;  // views the pickle
  std::vector<PickleId> items;
};

// Nodes can be shared and, through lists and dictionaries, refer to themselves: walk them with a bound.
struct Pickle {
  std::vector<PickleNode> nodes;
  PickleId root = 0;
  size_t length = 0;  // bytes read, from PROTO to STOP

  const PickleNode& operator[](PickleId id) const { return nodes[id]; }
  bool is(PickleId id, PickleKind kind) const { return nodes[id].kind == kind; }
  // "module.name" of a kGlobal, or of the callable of a kObject; "" for others.
  std::string global_name(PickleId id) const;
  // The value of a text key in a dictionary (the last one, as in Python), or null.
  const PickleId* find(PickleId dictionary, std::string_view key) const;
};

// Reads one pickle of protocol 2, 3 or 4 from the start of `bytes`, which must outlive the result. Refused
// (WeightsError, naming `path`): opcodes that those protocols' writers do not use, a call of anything that
// pickle_names.h does not know as harmless (named in the message), items set on what is no dictionary or list, more
// than 256 levels, more than 400,000 nodes.
Pickle parse_pickle(std::span<const std::byte> bytes, const std::string& path);

}  // namespace snell::io
