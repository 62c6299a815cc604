// The chain as a file that grows.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <optional>

#include "snell/core/error.h"
#include "snell/core/log.h"
#include "snell/train/chain.h"

namespace snell::train {
namespace {

namespace fs = std::filesystem;
using core::str;

void keep_previous(const std::string& path) {
  std::error_code error;
  if (!fs::exists(path, error)) return;
  fs::rename(path, path + ".previous", error);
  if (error) throw core::DiskError(str("cannot rename ", path, ": ", error.message()));
}

// What was written up to a step; a part that begins there is one that made no step.
std::string lines_up_to(const Chain& chain, int64_t step) {
  std::string out;
  auto part = chain.parts.begin();
  const auto add_parts = [&](int64_t reached) {
    for (; part != chain.parts.end() && part->step <= reached; ++part) out += line_of(*part);
  };
  for (const ChainRecord& record : chain.records) {
    if (record.step > step) break;
    add_parts(record.step - 1);
    out += line_of(record);
  }
  return out;
}

constexpr const char* kRemedy =
    ". Move that file away to begin a new chain at this step, or set dist.chain=false; the steps before it can then "
    "not "
    "be verified";

void check_leads_to(const Chain& chain, const ChainPart& start, const std::string& checkpoint_link,
                    const std::string& path) {
  if (!checkpoint_link.empty() && chain.link_after(start.step).hex() != checkpoint_link) {
    throw core::WeightsError(str(path, " is another run's: its link of step ", start.step,
                                 " is not the one that the checkpoint of this step holds", kRemedy));
  }
  if (chain.state_after(start.step) != start.state) {
    throw core::WeightsError(str(path, ": the parameters of the checkpoint of step ", start.step,
                                 " are not those that the chain has for this step", kRemedy));
  }
}

Chain read_or_tell(const std::string& path) {
  try {
    return read_chain(path);
  } catch (const core::WeightsError& error) {
    throw core::WeightsError(str(error.what(), kRemedy));
  }
}

struct Kept {
  std::string lines;
  core::Hash128 link;  // of the last of them
};

// What stays of the chain at `path`; nothing where a new one begins.
std::optional<Kept> kept_of(const std::string& path, const ChainPart& start, const std::string& checkpoint_link) {
  std::error_code ignored;
  if (!fs::exists(path, ignored)) {
    core::log_warning(str("there is no ", path, " to go on with: a new chain begins at step ", start.step));
    return std::nullopt;
  }
  const Chain chain = read_or_tell(path);
  if (!chain.covers(start.step)) {
    core::log_warning(str(path, " holds steps ", chain.first_step() + 1, " to ", chain.last_step(),
                          " and is kept as *.previous: a new chain begins at step ", start.step));
    keep_previous(path);
    return std::nullopt;
  }
  check_leads_to(chain, start, checkpoint_link, path);
  return Kept{lines_up_to(chain, start.step), chain.link_after(start.step)};
}

}  // namespace

ChainWriter::ChainWriter(std::string path, ChainPart start, bool resumed, const std::string& checkpoint_link)
    : path_(std::move(path)) {
  if (!resumed) keep_previous(path_);
  const auto kept = resumed ? kept_of(path_, start, checkpoint_link) : std::nullopt;
  link_ = start.link = kept ? kept->link : first_link(start.step, start.state);
  io::write_file(path_, (kept ? kept->lines : "") + line_of(start));
  file_ = io::FileDescriptor(::open(path_.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC));
  if (file_.get() < 0) throw core::DiskError(str("cannot open ", path_, " for writing: ", std::strerror(errno)));
}

void ChainWriter::add(ChainRecord record) {
  record.link = next_link(link_, record);
  append(line_of(record));
  link_ = record.link;
}

void ChainWriter::append(std::string line) {
  std::string_view rest = line;
  while (!rest.empty()) {
    const ssize_t put = ::write(file_.get(), rest.data(), rest.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) throw core::DiskError(str("cannot write ", path_, ": ", std::strerror(errno), "; free some space"));
    rest.remove_prefix(static_cast<size_t>(put));
  }
}

void ChainWriter::flush() {
  // EINVAL: a filesystem whose files need no flushing.
  if (::fdatasync(file_.get()) != 0 && errno != EINVAL) {
    throw core::DiskError(str("cannot flush ", path_, ": ", std::strerror(errno)));
  }
}

}  // namespace snell::train
