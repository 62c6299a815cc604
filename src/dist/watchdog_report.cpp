#include "watchdog_report.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>

#include "snell/core/stacks.h"

namespace snell::dist {
namespace {

class Report {
 public:
  explicit Report(const std::string& path)
      : fd_(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666)) {}
  ~Report() {
    if (fd_ >= 0) ::close(fd_);
  }
  Report(const Report&) = delete;
  Report& operator=(const Report&) = delete;
  int fd() const { return fd_ >= 0 ? fd_ : STDERR_FILENO; }

 private:
  int fd_;
};

template <class... Args>
void put(int fd, const char* format, Args... args) {
  std::array<char, 256> line{};
  const int length = std::snprintf(line.data(), line.size(), format, args...);
  if (length <= 0) return;
  const auto count = std::min(static_cast<size_t>(length), line.size() - 1);
  [[maybe_unused]] const ssize_t written = ::write(fd, line.data(), count);
}

void put_phases(int fd, const core::PhaseRing& ring) {
  std::array<core::PhaseRecord, core::PhaseRing::kLength> records;
  const size_t count = ring.last(records);
  const int64_t now = core::now_ns();
  put(fd, "\nthe last %zu phases, oldest first (seconds before this report; how long; step; phase)\n", count);
  for (size_t i = 0; i < count; ++i) {
    const core::PhaseRecord& r = records[i];
    const double lasted = static_cast<double>((r.end_ns == 0 ? now : r.end_ns) - r.start_ns) / 1e9;
    put(fd, "%12.6f %12.6f%s %8lld  %*s%s\n", static_cast<double>(r.start_ns - now) / 1e9, lasted,
        r.end_ns == 0 ? "+" : " ", static_cast<long long>(r.step), 2 * r.depth, "", core::phase_name(r.kind));
  }
}

}  // namespace

void write_watchdog_report(const std::string& path, const std::string& head, const core::PhaseRing& ring) noexcept {
  const Report report(path);
  [[maybe_unused]] const ssize_t written = ::write(report.fd(), head.data(), head.size());
  put_phases(report.fd(), ring);
  put(report.fd(), "\nstacks\n");
  core::write_stacks(report.fd());
  put(report.fd(), "\n");
}

void write_watchdog_names(const std::string& path) noexcept {
  const Report report(path);
  put(report.fd(), "the program's own functions in these stacks\n");
  core::write_own_names(report.fd());
  put(report.fd(), "\n");
}

}  // namespace snell::dist
