#include "snell/core/stacks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <string>
#include <thread>

namespace snell::core {

static std::string stacks() {
  std::FILE* file = std::tmpfile();
  write_stacks(::fileno(file));
  std::string text;
  std::rewind(file);
  for (int c = std::fgetc(file); c != EOF; c = std::fgetc(file)) text += static_cast<char>(c);
  std::fclose(file);
  return text;
}

TEST(Stacks, ShowsEveryOtherThreadAndWhoDoesNotAnswer) {
  prepare_stacks();
  std::atomic<bool> stop{false};
  std::atomic<int> ready{0};
  std::thread sleeper([&] {
    pthread_setname_np(pthread_self(), "sleeper");
    ++ready;
    while (!stop) ::usleep(1000);
  });
  std::thread deaf([&] {
    pthread_setname_np(pthread_self(), "deaf");
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, nullptr);
    ++ready;
    while (!stop) ::usleep(1000);
  });
  while (ready < 2) ::usleep(1000);
  for (int round = 0; round < 2; ++round) {
    const std::string text = stacks();
    EXPECT_THAT(text, ::testing::ContainsRegex("thread [0-9]+ \\(sleeper\\)\n.*\\["));
    EXPECT_THAT(text, ::testing::ContainsRegex("thread [0-9]+ \\(deaf\\): does not answer"));
    EXPECT_THAT(text, ::testing::HasSubstr("libc.so"));
  }
  stop = true;
  sleeper.join();
  deaf.join();
}

}  // namespace snell::core
