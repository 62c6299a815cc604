#include "snell/report/progress.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include <algorithm>

#include "snell/report/table.h"

namespace snell::report {
namespace {

using ::testing::HasSubstr;

ProgressState state_at(int64_t step) {
  ProgressState state;
  state.epoch = 3;
  state.epochs = 100;
  state.step = step;
  state.steps = 5000;
  state.loss = 0.1234;
  state.accuracy = 81.25;
  state.images_per_s = 532.4;
  return state;
}

// What a Progress writes while `use` runs.
template <class Use>
std::string written(ProgressOptions options, Use&& use) {
  int ends[2];
  EXPECT_EQ(::pipe(ends), 0);
  options.fd = ends[1];
  {
    Progress progress(options);
    use(progress);
  }
  ::close(ends[1]);
  std::string text(1 << 16, '\0');
  text.resize(static_cast<size_t>(std::max<ssize_t>(0, ::read(ends[0], text.data(), text.size()))));
  ::close(ends[0]);
  return text;
}

TEST(Progress, TheLine) {
  const std::string line = progress_line(state_at(1250), 133, 120, true, false);
  EXPECT_THAT(line, HasSubstr("train  epoch 3/100  [########...."));
  EXPECT_THAT(line, HasSubstr("1250/5000 (25%)  loss 0.1234  acc 81.2%  532 images/s  02:13 left"));
  ProgressState bare;
  EXPECT_EQ(progress_line(bare, -1, 0, false, false), "train  0/0 (0%)");
}

TEST(Progress, NeverWiderThanTheTerminal) {
  for (int width = 0; width <= 200; ++width) {
    for (const bool utf8 : {false, true}) {
      EXPECT_LE(display_width(progress_line(state_at(4999), 1e6, width, true, utf8)), static_cast<size_t>(width));
    }
  }
}

TEST(Progress, OnATerminalOneLineIsRedrawnAndEndsFresh) {
  const std::string text = written({.terminal = true, .width = 120}, [](Progress& progress) {
    for (int64_t step = 1; step <= 500; ++step) progress.update(state_at(step));
  });
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
  EXPECT_TRUE(text.ends_with("\x1b[K\n"));
  EXPECT_THAT(text, HasSubstr(" 500/5000")) << "the last state is shown";
  EXPECT_LT(std::count(text.begin(), text.end(), '\r'), 50) << "not each step";
}

TEST(Progress, ClearMakesRoom) {
  const std::string text = written({.terminal = true, .width = 80}, [](Progress& progress) {
    progress.update(state_at(1));
    progress.clear();
    progress.update(state_at(2));
  });
  EXPECT_THAT(text, HasSubstr("\x1b[K\r\x1b[K\r"));
}

TEST(Progress, InALogALineEachFewSteps) {
  const std::string text = written({.log_every = 100, .terminal = false}, [](Progress& progress) {
    for (int64_t step = 1; step <= 1000; ++step) progress.update(state_at(step));
  });
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 10) << text;
  EXPECT_EQ(text.find('\r'), std::string::npos);
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
}

TEST(Progress, OtherRanksAreSilent) {
  EXPECT_EQ(written({.enabled = false, .terminal = true}, [](Progress& progress) { progress.update(state_at(1)); }),
            "");
}

}  // namespace
}  // namespace snell::report
