// The CUDA side of the NCCL communicator.
#pragma once

#include <c10/core/Device.h>

#include <memory>

#include "snell/dist/nccl_api.h"

namespace snell::dist {

// A high-priority stream from LibTorch's pool on `device`, ordered with the current stream by events.
std::unique_ptr<CommStream> make_cuda_stream(c10::Device device);

// Makes `device` the calling thread's GPU.
void make_current(c10::Device device);

}  // namespace snell::dist
