// How far the run is: a bar on a terminal, a line now and then in a log.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>

#include "snell/core/timer.h"

namespace snell::report {

struct ProgressOptions {
  bool enabled = true;                          // rank 0 only
  int64_t log_every = 50;                       // in a log: a line each so many steps,
  double log_seconds = 30;                      // or after so many seconds
  int fd = 2;                                   // where to
  std::optional<bool> terminal = std::nullopt;  // instead of asking isatty
  std::optional<int> width = std::nullopt;      // columns, instead of asking the terminal
};

struct ProgressState {
  std::string phase = "train";  // "train", "eval"
  int64_t epoch = 0;            // counted from 1; shown when `epochs` > 0
  int64_t epochs = 0;
  int64_t step = 0;  // of `steps`, over the whole run (or of this evaluation)
  int64_t steps = 0;
  double loss = std::numeric_limits<double>::quiet_NaN();      // NaN: not shown
  double accuracy = std::numeric_limits<double>::quiet_NaN();  // percent; NaN: not shown
  double images_per_s = std::numeric_limits<double>::quiet_NaN();
};

// One thread. Redraws at most ten times a second; the destructor leaves the terminal on a fresh line.
class Progress {
 public:
  explicit Progress(const ProgressOptions& options);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void update(const ProgressState& state);
  // Takes the bar away so that something else can be printed; the next update draws it again.
  void clear();
  // On a terminal the last state once more, and a newline.
  void finish();

 private:
  void draw(const ProgressState& state);
  void put(const std::string& text);
  int width() const;
  double seconds_left(const ProgressState& state) const;

  ProgressOptions options_;
  bool terminal_;
  bool utf8_;
  bool drawn_ = false;  // a bar stands on the current line
  core::Timer since_draw_;
  core::Timer since_first_;
  int64_t first_step_ = 0;
  int64_t last_logged_ = 0;
  std::optional<ProgressState> last_;
};

// The line that is shown; with `bar` at most `width` columns. `left` is seconds (negative: unknown).
std::string progress_line(const ProgressState& state, double left, int width, bool bar, bool utf8);

}  // namespace snell::report
