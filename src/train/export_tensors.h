// What the export formats share.
#pragma once

#include <string>
#include <vector>

#include "snell/train/export.h"

namespace snell::train {

// The published tensors that were trained (head, class token, ...) under `prefix` and their names.
std::vector<ckpt::TensorRef> tuned_published(const peft::TunedModel& model, const std::string& prefix = "");

// Throws ConfigError when `type` is not "auto": for formats that have no types.
void refuse_type(const std::string& to, const std::string& type);

// Throws ConfigError for a model without adapters.
void require_adapter(const ExportInput& input, const std::string& to);

}  // namespace snell::train
