#include "mpi_progress.h"
#include "mpi_comm.h"
#include "snell/core/error.h"

#include <algorithm>
#include <chrono>

#include "snell/core/log.h"
#include "snell/core/phase.h"
#include "snell/core/text.h"

namespace snell::dist {

MpiProgress::MpiProgress() : thread_([this] { run(); }) {}

MpiProgress::~MpiProgress() {
  stop();
}

std::shared_ptr<MpiProgress::Job> MpiProgress::submit(Start start) {
  auto job = std::make_shared<Job>();
  job->start = std::move(start);
  {
    const std::lock_guard lock(mutex_);
    core::check(!stopping_, "a collective was started on a communicator that ends");
    queue_.push_back(job);
  }
  submitted_.notify_one();
  return job;
}

void MpiProgress::wait(Job& job) {
  const core::Phase phase(core::PhaseKind::kCollective);
  std::unique_lock lock(mutex_);
  finished_.wait(lock, [&] { return job.done || given_up_; });
  if (job.error) std::rethrow_exception(job.error);
  core::check(job.done, "a collective was given up before it ended");
}

void MpiProgress::give_up() noexcept {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    given_up_ = true;
  }
  submitted_.notify_one();
  finished_.notify_all();
}

bool MpiProgress::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  submitted_.notify_one();
  if (thread_.joinable()) thread_.join();
  if (active_.empty() && queue_.empty()) return true;
  core::log_warning(core::str(active_.size() + queue_.size(), " collectives were abandoned before they ended"));
  for (JobPtr& job : active_) new JobPtr(std::move(job));  // leaked on purpose: MPI may write to its tensors
  active_.clear();
  queue_.clear();
  return false;
}

void MpiProgress::run() {
  std::deque<JobPtr> fresh;
  while (take_new(fresh)) {
    for (const JobPtr& job : fresh) begin(job);
    fresh.clear();
    if (!test_all()) std::this_thread::sleep_for(std::chrono::microseconds(50));
  }
}

// Waits for work when there is none. False: the thread is to end.
bool MpiProgress::take_new(std::deque<JobPtr>& fresh) {
  std::unique_lock lock(mutex_);
  if (active_.empty()) submitted_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
  if (stopping_) return false;
  fresh.swap(queue_);
  return true;
}

void MpiProgress::begin(const JobPtr& job) {
  try {
    job->start(job->requests);
    active_.push_back(job);
  } catch (...) {
    finish(*job, std::current_exception());
  }
}

// Looks at every job under way once; true when one ended or none is left.
bool MpiProgress::test_all() {
  const size_t before = active_.size();
  std::erase_if(active_, [this](const JobPtr& job) {
    try {
      int done = 0;
      check_mpi(MPI_Testall(static_cast<int>(job->requests.size()), job->requests.data(), &done, MPI_STATUSES_IGNORE),
                "MPI_Testall");
      if (done != 0) finish(*job, nullptr);
      return done != 0;
    } catch (...) {
      finish(*job, std::current_exception());
      return true;
    }
  });
  return active_.empty() || active_.size() < before;
}

void MpiProgress::finish(Job& job, std::exception_ptr error) {
  job.start = nullptr;  // lets go of the tensors
  {
    const std::lock_guard lock(mutex_);
    job.error = std::move(error);
    job.done = true;
  }
  finished_.notify_all();
}

}  // namespace snell::dist
