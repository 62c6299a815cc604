// Streams of a pretended GPU: each runs what is launched on it in order, on a thread of its own, while the host goes
// on. Every rank (thread) has a current stream, as CUDA's threads have.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "collective_chain.h"
#include "snell/dist/nccl_api.h"

namespace snell::dist {

class ThreadEvent : public std::enable_shared_from_this<ThreadEvent> {
 public:
  void set();
  void wait();
  bool is_set();

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool set_ = false;
};

class ThreadStream {
 public:
  ThreadStream() : thread_([this] { run(); }) {}
  ~ThreadStream();  // after everything that was launched
  void launch(std::function<void()> kernel);
  std::shared_ptr<ThreadEvent> record();
  void wait_for(std::shared_ptr<ThreadEvent> event);
  void synchronize() { record()->wait(); }

  // Of the calling thread; made at the first call.
  static ThreadStream& current();
  static std::shared_ptr<ThreadStream> exchange_current(std::shared_ptr<ThreadStream> stream);

 private:
  void run();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> queue_;
  bool stopping_ = false;
  std::thread thread_;
};

// What a test leaves out of the order of streams, to see that it shows.
enum class StreamFault { kNone, kDoesNotWaitForCurrent, kCurrentDoesNotWait };

// The NCCL communicator's stream among these.
std::unique_ptr<CommStream> thread_comm_stream(StreamFault fault = StreamFault::kNone);

// As make_stream_chain() is for a GPU.
std::unique_ptr<CollectiveChain> thread_stream_chain();

}  // namespace snell::dist
