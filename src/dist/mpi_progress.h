// The communication thread of one MPI communicator. Open MPI moves a non-blocking collective on only while somebody
// calls MPI, so a thread of its own does: it starts the jobs in the order they were submitted (every rank submits in
// the same order, whatever its threads do), tests those under way, and sleeps 50 µs between tests.
#pragma once

#include <mpi.h>

#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace snell::dist {

class MpiProgress {
 public:
  using Requests = std::vector<MPI_Request>;
  // Starts operations and appends their requests; runs on the communication thread. What it captures lives until the
  // job is done.
  using Start = std::function<void(Requests&)>;

  class Job {
    friend class MpiProgress;
    Start start;
    Requests requests;
    std::exception_ptr error;
    bool done = false;
  };

  MpiProgress();
  // Stops the thread. Jobs under way are abandoned: their memory is never freed, since MPI may still write to it.
  ~MpiProgress();
  MpiProgress(const MpiProgress&) = delete;
  MpiProgress& operator=(const MpiProgress&) = delete;

  // Any thread.
  std::shared_ptr<Job> submit(Start start);
  // Blocks until the job is done; throws what it threw, or core::Error after give_up().
  void wait(Job& job);
  // Ends every wait(), now and later, with an error. Any thread; waits for nobody.
  void give_up() noexcept;
  // Stops the thread; false when jobs had to be abandoned. Nothing may be submitted afterwards.
  bool stop();

 private:
  using JobPtr = std::shared_ptr<Job>;

  void run();
  bool take_new(std::deque<JobPtr>& fresh);
  void begin(const JobPtr& job);
  bool test_all();
  void finish(Job& job, std::exception_ptr error);

  std::mutex mutex_;  // guards queue_, stopping_, given_up_ and every job's done and error
  std::condition_variable submitted_;
  std::condition_variable finished_;
  std::deque<JobPtr> queue_;
  bool stopping_ = false;
  bool given_up_ = false;
  std::vector<JobPtr> active_;  // of the communication thread alone
  std::thread thread_;
};

}  // namespace snell::dist
