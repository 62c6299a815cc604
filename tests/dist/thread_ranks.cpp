#include "thread_ranks.h"

#include <algorithm>
#include <thread>

#include "snell/core/text.h"

namespace snell::dist {

std::vector<std::string> ThreadWorld::exchange(int rank, const std::string& bytes) {
  std::unique_lock lock(mutex_);
  slots_[static_cast<size_t>(rank)] = bytes;
  const int64_t round = round_;
  if (++arrived_ == size()) {
    result_ = slots_;
    arrived_ = 0;
    ++round_;
    changed_.notify_all();
    return result_;
  }
  core::check(changed_.wait_for(lock, kDeadlock, [&] { return round_ > round; }),
              core::str("rank ", rank, " waits for the others' control messages"));
  return result_;  // the next round cannot end before this rank comes to it
}

std::vector<int> ThreadWorld::roll_call(int rank, double limit_s) {
  std::unique_lock lock(mutex_);
  const bool late = given_up_;
  const int64_t wanted = ++here_[static_cast<size_t>(rank)];
  changed_.notify_all();
  const auto all_here = [&] {
    return std::all_of(here_.begin(), here_.end(), [&](int64_t calls) { return calls >= wanted; });
  };
  std::vector<int> missing;
  if (!late && changed_.wait_for(lock, std::chrono::duration<double>(limit_s), all_here)) return missing;
  for (int other = 0; other < size(); ++other) {
    if (late ? other != rank : here_[static_cast<size_t>(other)] < wanted) missing.push_back(other);
  }
  given_up_ = true;
  return missing;
}

std::vector<int64_t> ThreadControlPlane::all_gather_ints(int64_t value) {
  std::vector<int64_t> out;
  for (const std::string& text : world_.exchange(rank_, std::to_string(value))) out.push_back(std::stoll(text));
  return out;
}

std::vector<std::string> run_as_ranks(int size, const std::function<void(ThreadControlPlane&)>& body) {
  ThreadWorld world(size);
  std::vector<std::string> errors(static_cast<size_t>(size));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < size; ++rank) {
    threads.emplace_back([&, rank] {
      ThreadControlPlane control(world, rank);
      try {
        body(control);
      } catch (const AgreedError& error) {
        errors[static_cast<size_t>(rank)] = core::str("agreed: ", error.what());
      } catch (const std::exception& error) {
        errors[static_cast<size_t>(rank)] = error.what();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return errors;
}

}  // namespace snell::dist
