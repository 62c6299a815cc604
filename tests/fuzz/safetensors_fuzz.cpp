// Fuzz target: safetensors files, and what else open_tensors() recognises. Run by run.sh.
#include "budget.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace snell;
  return fuzz::read_everything(data, size, [](io::FileBytes file) { return io::open_tensors(file); });
}
