// Runs several collectives one after the other off the caller's way: what one asynchronous operation of a communicator
// that is made of others consists of.
#pragma once

#include <c10/core/Device.h>

#include <functional>
#include <memory>

#include "snell/dist/communicator.h"

namespace snell::dist {

class CollectiveChain {
 public:
  virtual ~CollectiveChain() = default;
  // `steps` calls blocking collectives; it runs after the steps that were started before, and keeps what it captures.
  virtual std::unique_ptr<Work> start(std::function<void()> steps) = 0;
  // Whether nothing that was started is still under way on this machine's processor.
  virtual bool idle() = 0;
};

// For CPU tensors: a thread of its own. An error of `steps` comes out of wait().
std::unique_ptr<CollectiveChain> make_thread_chain();

// For a GPU: the host runs `steps` at once, with a stream of its own as the current one, behind what the caller's
// current stream holds; wait() makes the caller's current stream wait for the end.
std::unique_ptr<CollectiveChain> make_stream_chain(c10::Device device);

}  // namespace snell::dist
