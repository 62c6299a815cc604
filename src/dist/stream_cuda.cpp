#include <ATen/Context.h>
#include <ATen/cuda/CUDAEvent.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAStream.h>

#include "cuda_stream.h"

namespace snell::dist {

namespace {

class CudaStream : public CommStream {
 public:
  explicit CudaStream(c10::Device device)
      : device_(device.index()), stream_(c10::cuda::getStreamFromPool(/*isHighPriority=*/true, device.index())) {}

  void* handle() override { return stream_.stream(); }

  void wait_for_current() override {
    at::cuda::CUDAEvent event;
    event.record(c10::cuda::getCurrentCUDAStream(device_));
    event.block(stream_);
  }

  std::shared_ptr<void> mark() override {
    auto event = std::make_shared<at::cuda::CUDAEvent>();
    event->record(stream_);
    return event;
  }

  void make_current_wait(void* mark) override {
    static_cast<at::cuda::CUDAEvent*>(mark)->block(c10::cuda::getCurrentCUDAStream(device_));
  }

  bool reached(void* mark) override { return static_cast<at::cuda::CUDAEvent*>(mark)->query(); }

 private:
  c10::DeviceIndex device_;
  c10::cuda::CUDAStream stream_;
};

}  // namespace

std::unique_ptr<CommStream> make_cuda_stream(c10::Device device) {
  return std::make_unique<CudaStream>(device);
}

void make_current(c10::Device device) {
  c10::cuda::set_device(device.index());
  // float32 means float32: by default cuDNN's convolutions round their operands to TF32's 10 bits, and cuBLAS may add
  // up parts of a 16-bit product in 16 bits.
  at::Context& context = at::globalContext();
  context.setAllowTF32CuDNN(false);
  context.setAllowTF32CuBLAS(false);
  context.setAllowFP16ReductionCuBLAS(false);
  context.setAllowBF16ReductionCuBLAS(false);
}

}  // namespace snell::dist
