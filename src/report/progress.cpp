#include "snell/report/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "snell/core/text.h"

namespace snell::report {

using core::str;

static constexpr double kRedrawSeconds = 0.1;
static constexpr int kDefaultWidth = 100;
static constexpr int kMinBar = 8;
static constexpr int kMaxBar = 40;

static bool locale_is_utf8() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const char* value = std::getenv(name);
    if (value == nullptr || *value == '\0') continue;
    const std::string_view text(value);
    return text.find("UTF-8") != text.npos || text.find("utf8") != text.npos;
  }
  return false;
}

static std::string formatted(const char* format, double value) {
  char text[400];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

static std::string bar_of(double part, int cells, bool utf8) {
  const auto full = static_cast<int>(std::lround(part * cells));
  std::string bar;
  for (int i = 0; i < cells; ++i) bar += utf8 ? (i < full ? "█" : "░") : (i < full ? "#" : ".");
  return utf8 ? bar : str("[", bar, "]");
}

std::string progress_line(const ProgressState& state, double left, int width, bool bar, bool utf8) {
  const double part =
      state.steps > 0 ? std::clamp(static_cast<double>(state.step) / static_cast<double>(state.steps), 0.0, 1.0) : 0.0;
  std::string head = state.phase;
  if (state.epochs > 0) head += str("  epoch ", state.epoch, "/", state.epochs);
  std::string tail = str(state.step, "/", state.steps, " (", static_cast<int>(100 * part), "%)");
  if (std::isfinite(state.loss)) tail += formatted("  loss %.4f", state.loss);
  if (std::isfinite(state.accuracy)) tail += formatted("  acc %.1f%%", state.accuracy);
  if (std::isfinite(state.images_per_s)) {
    tail += formatted(state.images_per_s < 10 ? "  %.1f images/s" : "  %.0f images/s", state.images_per_s);
  }
  if (left >= 0) tail += str("  ", core::human_duration(left), " left");
  const int room = width - static_cast<int>(head.size() + tail.size()) - 4 - (utf8 ? 0 : 2);
  if (bar && room >= kMinBar) return str(head, "  ", bar_of(part, std::min(room, kMaxBar), utf8), "  ", tail);
  std::string line = str(head, "  ", tail);
  if (bar) line.resize(std::min(line.size(), static_cast<size_t>(std::max(width, 0))));
  return line;
}

Progress::Progress(const ProgressOptions& options)
    : options_(options), terminal_(options.terminal.value_or(::isatty(options.fd) == 1)), utf8_(locale_is_utf8()) {}

Progress::~Progress() {
  finish();
}

// What cannot be shown is no reason to stop a run.
void Progress::put(const std::string& text) {
  std::string_view rest = text;
  while (!rest.empty()) {
    const ssize_t done = ::write(options_.fd, rest.data(), rest.size());
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) return;
    rest.remove_prefix(static_cast<size_t>(done));
  }
}

int Progress::width() const {
  if (options_.width) return *options_.width;
  winsize size = {};
  return ::ioctl(options_.fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : kDefaultWidth;
}

double Progress::seconds_left(const ProgressState& state) const {
  const int64_t done = state.step - first_step_;
  if (done <= 0) return -1;
  const auto to_do = static_cast<double>(std::max<int64_t>(state.steps - state.step, 0));
  return since_first_.seconds() / static_cast<double>(done) * to_do;
}

void Progress::draw(const ProgressState& state) {
  const double left = seconds_left(state);
  if (terminal_) {
    // One column stays free, since a full line would wrap. Erasing after the text and not before it does not flicker.
    put(str("\r", progress_line(state, left, width() - 1, true, utf8_), "\x1b[K"));
    drawn_ = true;
  } else {
    put(str(progress_line(state, left, 0, false, false), "\n"));
  }
  since_draw_.reset();
}

void Progress::update(const ProgressState& state) {
  if (!options_.enabled) return;
  // A new phase: the time left is measured anew.
  const bool fresh = !last_ || last_->phase != state.phase || state.step < last_->step;
  if (fresh) {
    first_step_ = state.step;
    since_first_.reset();
  }
  last_ = state;
  const bool log_due = state.step - last_logged_ >= options_.log_every || state.step == state.steps ||
                       since_draw_.seconds() >= options_.log_seconds;
  if (!fresh && !(terminal_ ? !drawn_ || since_draw_.seconds() >= kRedrawSeconds : log_due)) return;
  last_logged_ = state.step;
  draw(state);
}

void Progress::clear() {
  if (drawn_) put("\r\x1b[K");
  drawn_ = false;
}

void Progress::finish() {
  if (options_.enabled && terminal_ && last_) {
    draw(*last_);
    put("\n");
  }
  drawn_ = false;
  last_.reset();
}

}  // namespace snell::report
