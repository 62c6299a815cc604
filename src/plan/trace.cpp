#include "snell/plan/trace.h"

#include <array>

namespace snell::plan {

const char* op_kind_name(OpKind kind) {
  static constexpr std::array<const char*, static_cast<size_t>(OpKind::kCount)> kNames{"matrix products",
                                                                                       "attention",
                                                                                       "attention backward",
                                                                                       "convolution",
                                                                                       "norms",
                                                                                       "norms backward",
                                                                                       "GELU",
                                                                                       "GELU backward",
                                                                                       "softmax",
                                                                                       "copies",
                                                                                       "element by element",
                                                                                       "dropout",
                                                                                       "update",
                                                                                       "ΔW built",
                                                                                       "ΔW gradients"};
  return kNames.at(static_cast<size_t>(kind));
}

const char* collective_name(Collective kind) {
  static constexpr std::array<const char*, static_cast<size_t>(Collective::kCount)> kNames{
      "all_reduce", "all_gather", "reduce_scatter", "all_to_all", "broadcast"};
  return kNames.at(static_cast<size_t>(kind));
}

double Trace::flops() const {
  double sum = 0;
  for (const Event& event : events) sum += event.kind == Event::Kind::kOp ? event.op.flops : 0;
  return sum;
}

double Trace::flops(OpKind kind) const {
  double sum = 0;
  for (const Event& event : events) sum += event.kind == Event::Kind::kOp && event.op.kind == kind ? event.op.flops : 0;
  return sum;
}

double Trace::bytes(Collective kind) const {
  double sum = 0;
  for (const Event& event : events) {
    sum += event.kind == Event::Kind::kStart && event.collective == kind ? event.bytes : 0;
  }
  return sum;
}

}  // namespace snell::plan
