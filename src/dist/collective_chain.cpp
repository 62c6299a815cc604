#include "collective_chain.h"

#include <c10/core/Event.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <condition_variable>
#include <deque>
#include <exception>
#include <future>
#include <mutex>
#include <thread>

namespace snell::dist {

namespace {

class ThreadChain : public CollectiveChain {
 public:
  ThreadChain() : thread_([this] { run(); }) {}
  // Ends after the steps under way; those that were not begun are dropped.
  ~ThreadChain() override {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    submitted_.notify_one();
    thread_.join();
  }

  std::unique_ptr<Work> start(std::function<void()> steps) override {
    std::packaged_task<void()> task(std::move(steps));
    auto work = std::make_unique<FutureWork>(task.get_future().share());
    {
      const std::lock_guard lock(mutex_);
      queue_.push_back(std::move(task));
    }
    submitted_.notify_one();
    return work;
  }

  bool idle() override {
    const std::lock_guard lock(mutex_);
    return queue_.empty() && !busy_;
  }

 private:
  struct FutureWork : Work {
    explicit FutureWork(std::shared_future<void> future_in) : future(std::move(future_in)) {}
    void wait() override { future.get(); }
    std::shared_future<void> future;
  };

  void run() {
    std::unique_lock lock(mutex_);
    for (;;) {
      busy_ = false;
      submitted_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
      if (stopping_) return;
      busy_ = true;
      std::packaged_task<void()> task = std::move(queue_.front());
      queue_.pop_front();
      lock.unlock();
      task();
      task = {};  // lets go of its tensors
      lock.lock();
    }
  }

  std::mutex mutex_;  // guards what is below
  std::condition_variable submitted_;
  std::deque<std::packaged_task<void()>> queue_;
  bool busy_ = false;
  bool stopping_ = false;
  std::thread thread_;  // last: it uses the others
};

class StreamChain : public CollectiveChain {
 public:
  explicit StreamChain(c10::Device device)
      : device_(device),
        impl_(device.type()),
        stream_(impl_.getStreamFromGlobalPool(device, /*isHighPriority=*/true)) {}

  std::unique_ptr<Work> start(std::function<void()> steps) override {
    c10::Event ready(device_.type());
    ready.record(impl_.getStream(device_));
    ready.block(stream_);
    {
      const c10::StreamGuard guard(stream_);
      steps();
    }
    auto work = std::make_unique<StreamWork>(impl_, device_, std::move(steps));
    work->done.record(stream_);
    return work;
  }

  bool idle() override { return true; }

 private:
  struct StreamWork : Work {
    StreamWork(const c10::impl::VirtualGuardImpl& impl_in, c10::Device device_in, std::function<void()> steps_in)
        : impl(impl_in), device(device_in), steps(std::move(steps_in)), done(device_in.type()) {}
    ~StreamWork() override {
      if (std::uncaught_exceptions() == 0) wait();
    }
    void wait() override {
      if (!steps) return;
      done.block(impl.getStream(device));
      steps = nullptr;
    }
    const c10::impl::VirtualGuardImpl& impl;
    c10::Device device;
    std::function<void()> steps;  // holds the tensors until the caller's stream waits for them
    c10::Event done;
  };

  c10::Device device_;
  c10::impl::VirtualGuardImpl impl_;
  c10::Stream stream_;
};

}  // namespace

std::unique_ptr<CollectiveChain> make_thread_chain() {
  return std::make_unique<ThreadChain>();
}

std::unique_ptr<CollectiveChain> make_stream_chain(c10::Device device) {
  return std::make_unique<StreamChain>(device);
}

}  // namespace snell::dist
