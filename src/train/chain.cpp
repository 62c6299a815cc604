// The chain as data: lines, links, hashes, reading.
#include "snell/train/chain.h"

#include <ATen/Parallel.h>
#include <ATen/Version.h>

#include <bit>
#include <charconv>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>
#include <optional>
#include <string_view>

#include "snell/core/error.h"
#include "snell/core/instruction_set.h"
#include "snell/core/text.h"
#include "snell/core/version.h"

namespace snell::train {
namespace {

using core::Hash128;
using core::str;
using core::WeightsError;
using nlohmann::json;
using nlohmann::ordered_json;

constexpr std::string_view kOpening = "snell chain 1";
constexpr int64_t kFormat = 1;
constexpr uint64_t kMaxChainBytes = uint64_t{16} << 30;
constexpr uint64_t kNotFinite = ~uint64_t{0};

static_assert(std::endian::native == std::endian::little && sizeof(Hash128) == 16);

template <class T>
void add(core::Hasher& hasher, const T& value) {
  static_assert(std::has_unique_object_representations_v<T>);
  hasher.add(&value, sizeof value);
}

uint64_t bits_of(double loss) {
  return std::isfinite(loss) ? std::bit_cast<uint64_t>(loss) : kNotFinite;
}

uint64_t word_of(std::string_view digits) {
  uint64_t word = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), word, 16);
  if (error != std::errc() || end != digits.data() + digits.size())
    throw WeightsError("a hash is no hexadecimal number");
  return word;
}

Hash128 hash_of(const json& value) {
  const auto& text = value.get_ref<const std::string&>();
  if (text.size() != 32) throw WeightsError("a hash has not 32 digits");
  return {word_of(std::string_view(text).substr(16)), word_of(std::string_view(text).substr(0, 16))};
}

ChainPart part_from(const json& line) {
  if (line.at("format").get<int64_t>() != kFormat) throw WeightsError(str("its format is not ", kFormat));
  ChainPart out;
  out.step = line.at("step");
  out.ranks = line.at("ranks");
  out.facts = {line.at("version"), line.at("instruction_set"), line.at("threads"), line.at("device")};
  out.state = hash_of(line.at("state"));
  out.link = hash_of(line.at("link"));
  out.config = line.at("config");
  return out;
}

ChainRecord record_from(const json& line) {
  ChainRecord out;
  out.step = line.at("step");
  for (const json& hash : line.at("shards")) out.shards.push_back(hash_of(hash));
  out.sum = hash_of(line.at("sum"));
  out.state = hash_of(line.at("state"));
  const json& loss = line.at("loss");
  out.loss = loss.is_null() ? std::numeric_limits<double>::quiet_NaN() : loss.get<double>();
  out.link = hash_of(line.at("link"));
  return out;
}

void add_part(Chain& chain, ChainPart part) {
  if (chain.parts.empty()) {
    if (part.link != first_link(part.step, part.state)) throw WeightsError("its link does not fit what it says");
  } else if (part.step != chain.last_step() || part.link != chain.link_after(part.step) ||
             part.state != chain.state_after(part.step)) {
    throw WeightsError(str("it does not go on from step ", chain.last_step()));
  }
  chain.parts.push_back(std::move(part));
}

void add_record(Chain& chain, ChainRecord record) {
  if (chain.parts.empty()) throw WeightsError("a step comes before the first part");
  if (record.step != chain.last_step() + 1) {
    throw WeightsError(str("step ", record.step, " comes after step ", chain.last_step()));
  }
  if (record.link != next_link(chain.link_after(chain.last_step()), record)) {
    throw WeightsError(str("the link of step ", record.step, " does not fit its hashes and the link before it"));
  }
  chain.records.push_back(std::move(record));
}

void add_line(Chain& chain, std::string_view text) {
  const json line = json::parse(text);
  if (line.at("event") == "part") {
    add_part(chain, part_from(line));
  } else {
    add_record(chain, record_from(line));
  }
}

}  // namespace

std::string chain_link_of(const ckpt::Manifest& manifest) {
  const auto link = manifest.extra.find(kChainLink);
  return link != manifest.extra.end() && link->is_string() ? link->get<std::string>() : "";
}

const ChainRecord& Chain::record(int64_t step) const {
  core::check(step > first_step() && step <= last_step(), str("the chain has no step ", step));
  return records[static_cast<size_t>(step - first_step() - 1)];
}

Hash128 Chain::link_after(int64_t step) const {
  return step == first_step() ? parts.front().link : record(step).link;
}

Hash128 Chain::state_after(int64_t step) const {
  return step == first_step() ? parts.front().state : record(step).state;
}

const ChainPart& Chain::part_of(int64_t step) const {
  core::check(step > first_step() && step <= last_step(), str("the chain has no step ", step));
  const auto later = std::find_if(parts.begin(), parts.end(), [&](const ChainPart& part) { return part.step >= step; });
  return *std::prev(later);
}

Hash128 first_link(int64_t step, const Hash128& state) {
  core::Hasher hasher;
  hasher.add(kOpening.data(), kOpening.size());
  add(hasher, step);
  add(hasher, state);
  return hasher.finish();
}

Hash128 next_link(const Hash128& before, const ChainRecord& record) {
  core::Hasher hasher;
  add(hasher, before);
  add(hasher, record.step);
  add(hasher, static_cast<int64_t>(record.shards.size()));
  hasher.add(record.shards.data(), record.shards.size() * sizeof(Hash128));
  add(hasher, record.sum);
  add(hasher, record.state);
  add(hasher, bits_of(record.loss));
  return hasher.finish();
}

Hash128 state_hash(std::span<const ckpt::TensorRef> tensors) {
  core::Hasher hasher;
  for (const auto& [name, tensor] : tensors) {
    const at::Tensor host = tensor.detach().to(at::kCPU).contiguous();
    hasher.add(name.c_str(), name.size() + 1);
    hasher.add(host.const_data_ptr(), host.nbytes());
  }
  return hasher.finish();
}

ChainFacts own_facts(const std::string& device) {
  return {core::version(), str(core::name_of(core::best_instruction_set()), ", LibTorch ", at::get_cpu_capability()),
          at::get_num_threads(), device};
}

std::string line_of(const ChainPart& part) {
  return ordered_json({{"event", "part"},
                       {"format", kFormat},
                       {"step", part.step},
                       {"ranks", part.ranks},
                       {"threads", part.facts.threads},
                       {"device", part.facts.device},
                       {"version", part.facts.version},
                       {"instruction_set", part.facts.instruction_set},
                       {"state", part.state.hex()},
                       {"link", part.link.hex()},
                       {"config", part.config}})
             .dump() +
         "\n";
}

std::string line_of(const ChainRecord& record) {
  ordered_json shards = ordered_json::array();
  for (const Hash128& hash : record.shards) shards.push_back(hash.hex());
  return ordered_json({{"event", "step"},
                       {"step", record.step},
                       {"loss", std::isfinite(record.loss) ? ordered_json(record.loss) : ordered_json()},
                       {"shards", std::move(shards)},
                       {"sum", record.sum.hex()},
                       {"state", record.state.hex()},
                       {"link", record.link.hex()}})
             .dump() +
         "\n";
}

Chain read_chain(const std::string& path) {
  const auto bytes = io::read_file(path, kMaxChainBytes, io::raise_weights_error);
  std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  Chain chain;
  for (int64_t number = 1; text.find('\n') != std::string_view::npos; ++number) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(line.size() + 1);
    try {
      add_line(chain, line);
    } catch (const json::exception& error) {
      throw WeightsError(str(path, ":", number, ": no line of a chain (", error.what(), ")"));
    } catch (const WeightsError& error) {
      throw WeightsError(str(path, ":", number, ": ", error.what(), "; the file was damaged or changed"));
    }
  }
  if (chain.parts.empty()) throw WeightsError(str(path, " holds no chain: it has no whole line"));
  return chain;
}

}  // namespace snell::train
