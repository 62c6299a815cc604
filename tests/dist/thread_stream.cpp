#include "thread_stream.h"

#include <utility>

namespace snell::dist {

void ThreadEvent::set() {
  {
    const std::lock_guard lock(mutex_);
    set_ = true;
  }
  changed_.notify_all();
}

void ThreadEvent::wait() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return set_; });
}

bool ThreadEvent::is_set() {
  const std::lock_guard lock(mutex_);
  return set_;
}

ThreadStream::~ThreadStream() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_one();
  thread_.join();
}

void ThreadStream::launch(std::function<void()> kernel) {
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back(std::move(kernel));
  }
  changed_.notify_one();
}

std::shared_ptr<ThreadEvent> ThreadStream::record() {
  auto event = std::make_shared<ThreadEvent>();
  launch([event] { event->set(); });
  return event;
}

void ThreadStream::wait_for(std::shared_ptr<ThreadEvent> event) {
  launch([event = std::move(event)] { event->wait(); });
}

void ThreadStream::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    if (queue_.empty()) return;
    const auto kernel = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    kernel();
    lock.lock();
  }
}

static std::shared_ptr<ThreadStream>& current_slot() {
  thread_local auto stream = std::make_shared<ThreadStream>();
  return stream;
}

ThreadStream& ThreadStream::current() {
  return *current_slot();
}

std::shared_ptr<ThreadStream> ThreadStream::exchange_current(std::shared_ptr<ThreadStream> stream) {
  return std::exchange(current_slot(), std::move(stream));
}

namespace {

class ThreadCommStream : public CommStream {
 public:
  explicit ThreadCommStream(StreamFault fault) : fault_(fault) {}
  void* handle() override { return &stream_; }
  void wait_for_current() override {
    if (fault_ != StreamFault::kDoesNotWaitForCurrent) stream_.wait_for(ThreadStream::current().record());
  }
  std::shared_ptr<void> mark() override { return stream_.record(); }
  void make_current_wait(void* mark) override {
    if (fault_ == StreamFault::kCurrentDoesNotWait) return;
    ThreadStream::current().wait_for(static_cast<ThreadEvent*>(mark)->shared_from_this());
  }
  bool reached(void* mark) override { return static_cast<ThreadEvent*>(mark)->is_set(); }

 private:
  StreamFault fault_;
  ThreadStream stream_;
};

class ThreadStreamChain : public CollectiveChain {
 public:
  std::unique_ptr<Work> start(std::function<void()> steps) override {
    stream_->wait_for(ThreadStream::current().record());
    auto caller = ThreadStream::exchange_current(stream_);
    steps();
    ThreadStream::exchange_current(std::move(caller));
    return std::make_unique<EventWork>(stream_->record(), std::move(steps));
  }
  bool idle() override { return true; }

 private:
  struct EventWork : Work {
    EventWork(std::shared_ptr<ThreadEvent> event_in, std::function<void()> steps_in)
        : event(std::move(event_in)), steps(std::move(steps_in)) {}
    ~EventWork() override { wait(); }
    void wait() override { ThreadStream::current().wait_for(event); }
    std::shared_ptr<ThreadEvent> event;
    std::function<void()> steps;
  };
  std::shared_ptr<ThreadStream> stream_ = std::make_shared<ThreadStream>();
};

}  // namespace

std::unique_ptr<CommStream> thread_comm_stream(StreamFault fault) {
  return std::make_unique<ThreadCommStream>(fault);
}

std::unique_ptr<CollectiveChain> thread_stream_chain() {
  return std::make_unique<ThreadStreamChain>();
}

}  // namespace snell::dist
