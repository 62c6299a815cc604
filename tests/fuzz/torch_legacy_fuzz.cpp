// Fuzz target: torch.save's files from before PyTorch 1.6. Run by run.sh.
#include "budget.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace snell;
  return fuzz::read_everything(data, size, [](io::FileBytes file) { return io::open_torch_legacy(file); });
}
