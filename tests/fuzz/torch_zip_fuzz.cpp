// Fuzz target: torch.save's archives, and what else begins as a zip archive. Run by run.sh.
#include "budget.h"
#include "zip_mutator.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace snell;
  return fuzz::read_everything(data, size, [](io::FileBytes file) { return io::open_tensors(file); });
}
