// Legend: B batch, H heads, N queries, M keys, E features of a head.
#include "snell/train/op_trace.h"

#include <ATen/core/Tensor.h>
#include <ATen/core/function_schema.h>
#include <ATen/record_function.h>

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "snell/core/error.h"
#include "snell/core/timer.h"

namespace snell::train {
namespace {

using c10::IValue;
using plan::Op;
using plan::OpKind;
using Values = c10::ArrayRef<const IValue>;

// Operations that are known by name; what they call in turn belongs to them.
const std::map<std::string_view, OpKind>& known_kinds() {
  static const std::map<std::string_view, OpKind> kKinds{
      {"aten::mm", OpKind::kGemm},
      {"aten::addmm", OpKind::kGemm},
      {"aten::addmm_", OpKind::kGemm},
      {"aten::bmm", OpKind::kGemm},
      {"aten::baddbmm", OpKind::kGemm},
      {"aten::baddbmm_", OpKind::kGemm},
      {"aten::_scaled_dot_product_flash_attention_for_cpu", OpKind::kAttention},
      {"aten::_scaled_dot_product_flash_attention_for_cpu_backward", OpKind::kAttentionBackward},
      {"aten::convolution", OpKind::kConvolution},
      {"aten::convolution_backward", OpKind::kConvolution},
      {"aten::native_layer_norm", OpKind::kNorm},
      {"aten::native_layer_norm_backward", OpKind::kNormBackward},
      {"aten::gelu", OpKind::kGelu},
      {"aten::gelu_backward", OpKind::kGeluBackward},
      {"aten::_softmax", OpKind::kSoftmax},
      {"aten::_softmax_backward_data", OpKind::kSoftmax},
      {"aten::copy_", OpKind::kCopy},
      {"aten::cat", OpKind::kCopy},
      {"aten::roll", OpKind::kCopy},
      {"aten::index_select", OpKind::kCopy},
      {"aten::index_add_", OpKind::kCopy},
      {"aten::constant_pad_nd", OpKind::kCopy},
      {"aten::_fused_adamw_", OpKind::kUpdate},
      {"aten::_fused_sgd_", OpKind::kUpdate},
      {"snell::dropout", OpKind::kRandom},
      {"snell::merge", OpKind::kDeltaBuild},
      {"snell::factor_grads", OpKind::kDeltaGrads},
  };
  return kKinds;
}

bool is_free(std::string_view name) {
  for (const char* start :
       {"aten::empty", "aten::new_empty", "aten::resize_", "aten::set_", "aten::detach", "aten::_local_scalar_dense",
        "aten::item", "aten::_unsafe_view", "aten::is_nonzero", "aten::lift_fresh"}) {
    if (name.starts_with(start)) return true;
  }
  return false;
}

bool only_writes(std::string_view name) {
  return name == "aten::zero_" || name == "aten::fill_";
}

bool is_view(const at::RecordFunction& call) {
  const auto schema = call.operator_schema();
  if (!schema || schema->is_mutable()) return false;
  for (const auto& result : schema->returns()) {
    if (result.alias_info() != nullptr) return true;
  }
  return false;
}

double bytes_of(const at::Tensor& tensor) {
  return tensor.defined() ? static_cast<double>(tensor.numel()) * static_cast<double>(tensor.element_size()) : 0;
}

double bytes_of(Values values) {
  double sum = 0;
  for (const IValue& value : values) {
    if (value.isTensor()) {
      sum += bytes_of(value.toTensor());
    } else if (value.isTensorList()) {
      for (const at::Tensor& tensor : value.toTensorVector()) sum += bytes_of(tensor);
    } else if (value.isList()) {  // of optional tensors
      for (const IValue& item : value.toListRef()) sum += item.isTensor() ? bytes_of(item.toTensor()) : 0;
    }
  }
  return sum;
}

double product(at::IntArrayRef sizes) {
  double out = 1;
  for (const int64_t size : sizes) out *= static_cast<double>(size);
  return out;
}

void size_gemm(Op& op, const at::Tensor& a, const at::Tensor& b) {
  op.m = a.size(-2);
  op.k = a.size(-1);
  op.n = b.size(-1);
  op.batch = a.dim() == 3 ? a.size(0) : 1;
  op.flops = 2.0 * static_cast<double>(op.batch) * static_cast<double>(op.m) * static_cast<double>(op.n) *
             static_cast<double>(op.k);
}

// q [B, H, N, E], k [B, H, M, E]: two products of N × M × E forward; five backward, one of them made again.
double attention_flops(const at::Tensor& q_BHNE, const at::Tensor& k_BHME, int products) {
  return 2.0 * products * product(q_BHNE.sizes()) * static_cast<double>(k_BHME.size(2));
}

// Of one convolution: a multiplication and an addition an output and an element of its filter.
double convolution_flops(const at::Tensor& weight, double outputs) {
  return 2.0 * outputs * static_cast<double>(weight.numel()) / static_cast<double>(weight.size(0));
}

double convolution_backward_flops(Values inputs) {
  const at::Tensor &grad = inputs[0].toTensor(), &weight = inputs[2].toTensor();
  const auto wanted = inputs[inputs.size() - 1].toBoolList();
  return (wanted[0] + wanted[1]) * convolution_flops(weight, static_cast<double>(grad.numel()));
}

void size_delta(Op& op, Values inputs) {
  op.entries = static_cast<double>(inputs[0].toInt());
  op.columns = inputs[1].toInt();
  op.kept = inputs[2].toDouble();
}

// What is known of a call before it runs.
Op op_of(std::string_view name, OpKind kind, Values inputs) {
  Op op{.kind = kind};
  op.bytes = bytes_of(inputs);
  for (const IValue& value : inputs) {
    if (value.isTensor() && value.toTensor().defined()) {
      op.element_size = static_cast<int64_t>(value.toTensor().element_size());
      break;
    }
  }
  const auto tensor = [&](size_t i) -> const at::Tensor& { return inputs[i].toTensor(); };
  switch (kind) {
    case OpKind::kGemm: {
      const size_t first = name == "aten::mm" || name == "aten::bmm" ? 0 : 1;
      size_gemm(op, tensor(first), tensor(first + 1));
      break;
    }
    case OpKind::kAttention:
      op.flops = attention_flops(tensor(0), tensor(1), 2);
      break;
    case OpKind::kAttentionBackward:
      op.flops = attention_flops(tensor(1), tensor(2), 5);
      break;
    case OpKind::kConvolution:  // forward: of one output, whose number is known when it ends
      op.flops = name == "aten::convolution" ? convolution_flops(tensor(1), 1) : convolution_backward_flops(inputs);
      break;
    case OpKind::kDeltaBuild:  // entries, columns of the factors, share that goes, whether a threshold is looked for
      size_delta(op, inputs);
      op.kept = 1 - op.kept;
      op.selects = inputs[3].toBool();
      op.flops = 3 * op.entries * static_cast<double>(op.columns);
      op.bytes = (op.selects ? 4 : 2) * op.entries * static_cast<double>(op.element_size);
      break;
    case OpKind::kDeltaGrads:  // entries, columns, share that stays
      size_delta(op, inputs);
      op.flops = (3 + 4 * op.kept) * op.entries * static_cast<double>(op.columns);
      op.bytes = op.entries * static_cast<double>(op.element_size);
      break;
    default:
      break;
  }
  return op;
}

struct Frame {
  std::string name;
  std::optional<Op> known;
  bool view = false;
  bool composite = false;  // something below it was counted
  double bytes_in = 0;
  int64_t element_size = 4;
  core::Timer timer;
};

}  // namespace

struct OpObserver::State {
  Found found;
  at::CallbackHandle handle = 0;
  std::vector<Frame> frames;
  int known_above = 0;
  std::map<std::string, bool, std::less<>> views;  // by name and overload

  static thread_local State* active;

  bool view_of(const at::RecordFunction& call) {
    const std::string key = std::string(call.name()) + "." + call.overload_name();
    const auto seen = views.find(key);
    return seen != views.end() ? seen->second : views.emplace(key, is_view(call)).first->second;
  }

  void begin(const at::RecordFunction& call) {
    Frame frame;
    frame.name = call.name();
    if (known_above == 0 && !is_free(frame.name)) {
      const auto kind = known_kinds().find(frame.name);
      if (kind != known_kinds().end()) {
        frame.known = op_of(frame.name, kind->second, call.inputs());
      } else {
        frame.view = view_of(call);
        frame.bytes_in = only_writes(frame.name) ? 0 : bytes_of(call.inputs());
      }
    }
    known_above += frame.known.has_value();
    frames.push_back(std::move(frame));
  }

  void end(const at::RecordFunction& call) {
    Frame frame = std::move(frames.back());
    frames.pop_back();
    known_above -= frame.known.has_value();
    if (known_above > 0 || is_free(frame.name)) return;
    const double seconds = frame.timer.seconds();
    const double bytes_out = bytes_of(Values(call.outputs().data(), call.outputs().size()));
    if (frame.known) {
      Op& op = *frame.known;
      if (frame.name == "aten::convolution" && !call.outputs().empty()) {
        op.flops *= static_cast<double>(call.outputs()[0].toTensor().numel());
      }
      if (frame.name != "aten::copy_") op.bytes += bytes_out;
      found(op, seconds);
    } else if (!frame.composite && !frame.view && frame.bytes_in + bytes_out > 0) {
      found({.kind = OpKind::kElementwise, .bytes = frame.bytes_in + bytes_out}, seconds);
    } else if (!frame.composite) {
      return;
    }
    if (!frames.empty()) frames.back().composite = true;
  }
};

thread_local OpObserver::State* OpObserver::State::active = nullptr;

OpObserver::OpObserver(Found found) : state_(std::make_unique<State>()) {
  core::check(State::active == nullptr, "one observer of operations at a time");
  state_->found = std::move(found);
  State::active = state_.get();
  const auto begin = [](const at::RecordFunction& call) -> std::unique_ptr<at::ObserverContext> {
    if (State::active != nullptr) State::active->begin(call);
    return nullptr;
  };
  const auto end = [](const at::RecordFunction& call, at::ObserverContext*) {
    if (State::active != nullptr) State::active->end(call);
  };
  state_->handle = at::addThreadLocalCallback(
      at::RecordFunctionCallback(begin, end).needsInputs(true).needsOutputs(true).scopes({at::RecordScope::FUNCTION}));
}

OpObserver::~OpObserver() {
  at::removeCallback(state_->handle);
  State::active = nullptr;
}

}  // namespace snell::train
