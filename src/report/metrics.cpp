#include "snell/report/metrics.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <string_view>

#include "snell/core/error.h"
#include "snell/core/log.h"

namespace snell::report {

namespace fs = std::filesystem;
using core::str;
using nlohmann::json;

static constexpr std::string_view kSummaryHead = "epoch,step,train_loss,eval_loss,top1,top5,best,lr,seconds,weights\n";
static constexpr uint64_t kMaxLogBytes = uint64_t{4} << 30;

static io::FileDescriptor open_to_append(const std::string& path) {
  io::FileDescriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666));
  if (file.get() < 0) throw core::DiskError(str("cannot open ", path, " for writing: ", std::strerror(errno)));
  return file;
}

static void write_all(const io::FileDescriptor& file, const std::string& path, std::string_view text) {
  while (!text.empty()) {
    const ssize_t put = ::write(file.get(), text.data(), text.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) throw core::DiskError(str("cannot write ", path, ": ", std::strerror(errno), "; free some space"));
    text.remove_prefix(static_cast<size_t>(put));
  }
}

// The file's text, or "" when there is none.
static std::string text_of(const std::string& path) {
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return "";
  const std::vector<std::byte> bytes = io::read_file(path, kMaxLogBytes, io::raise_data_error);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Only lines that end in a newline: the last one may be torn. Returns whether one was.
static bool for_each_line(std::string_view text, const std::function<void(std::string_view)>& use) {
  while (true) {
    const size_t end = text.find('\n');
    if (end == std::string_view::npos) return !text.empty();
    use(text.substr(0, end));
    text.remove_prefix(end + 1);
  }
}

static void keep_previous(const std::string& path) {
  std::error_code error;
  if (!fs::exists(path, error)) return;
  fs::rename(path, path + ".previous", error);
  if (error) throw core::DiskError(str("cannot rename ", path, ": ", error.message()));
}

static int64_t step_of(const json& event) {
  const auto step = event.find("step");
  return step != event.end() && step->is_number_integer() ? step->get<int64_t>() : 0;
}

// A run that goes on is not finished, whatever it said.
static bool stays(const json& event, int64_t last_step) {
  return event.is_object() && step_of(event) <= last_step && event.value("event", json()) != "finish";
}

// Lines of events up to the step; the others are counted.
static std::string cut_events(const std::string& text, int64_t last_step, int64_t& dropped) {
  std::string kept;
  const bool torn = for_each_line(text, [&](std::string_view line) {
    if (stays(json::parse(line, nullptr, false), last_step)) {
      kept.append(line).push_back('\n');
    } else {
      ++dropped;
    }
  });
  dropped += torn;
  return kept;
}

MetricsLog::MetricsLog(std::string path, std::optional<int64_t> resumed_step, int flush_every)
    : path_(std::move(path)), flush_every_(flush_every) {
  int64_t dropped = 0;
  if (resumed_step) {
    io::write_file(path_, cut_events(text_of(path_), *resumed_step, dropped));
  } else {
    keep_previous(path_);
  }
  file_ = open_to_append(path_);
  if (resumed_step) write("resume", {{"step", *resumed_step}, {"dropped_events", dropped}});
}

MetricsLog::~MetricsLog() {
  try {
    flush();
  } catch (const core::DiskError& error) {
    core::log_warning(error.what());
  }
}

void MetricsLog::write(const std::string& event, const nlohmann::ordered_json& fields) {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  nlohmann::ordered_json line = {
      {"event", event},
      {"time", static_cast<double>(std::chrono::duration_cast<std::chrono::milliseconds>(now).count()) / 1000.0}};
  for (const auto& [key, value] : fields.items()) line[key] = value;
  pending_ += line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  pending_ += '\n';
  if (++pending_lines_ >= flush_every_) flush();
}

void MetricsLog::flush() {
  // Emptied first, so that a full disk neither grows the memory nor repeats half a line.
  const std::string lines = std::exchange(pending_, {});
  pending_lines_ = 0;
  write_all(file_, path_, lines);
}

int64_t for_each_event(const std::string& path, const std::function<void(const json&)>& use) {
  int64_t skipped = 0;
  const bool torn = for_each_line(text_of(path), [&](std::string_view line) {
    const json event = json::parse(line, nullptr, false);
    if (event.is_object()) {
      use(event);
    } else {
      ++skipped;
    }
  });
  return skipped + torn;
}

static std::string cut_rows(const std::string& text, int64_t last_step) {
  std::string kept(kSummaryHead);
  for_each_line(text, [&](std::string_view line) {
    long long epoch = 0;
    long long step = 0;
    const std::string row(line);
    if (std::sscanf(row.c_str(), "%lld,%lld,", &epoch, &step) == 2 && step <= last_step)
      kept.append(row).push_back('\n');
  });
  return kept;
}

SummaryLog::SummaryLog(std::string path, std::optional<int64_t> resumed_step) : path_(std::move(path)) {
  if (!resumed_step) keep_previous(path_);
  io::write_file(path_, resumed_step ? cut_rows(text_of(path_), *resumed_step) : std::string(kSummaryHead));
  file_ = open_to_append(path_);
}

void SummaryLog::add(const SummaryRow& row) {
  std::ostringstream line;
  line.precision(10);
  line << row.epoch << ',' << row.step << ',' << row.train_loss << ',' << row.eval_loss << ',' << row.top1 << ','
       << row.top5 << ',' << row.best << ',' << row.lr << ',' << row.seconds << ',' << row.weights << '\n';
  write_all(file_, path_, line.str());
}

}  // namespace snell::report
