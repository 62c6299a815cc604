// The settings that structs describe (Binder's FieldDoc), as text: for `--config-help` and for docs/config.md.
#pragma once

#include <span>
#include <string>

#include "snell/config/binder.h"

namespace snell::config {

// "  optim.lr = 0.001: a number >= 0; peak learning rate", one line a setting.
std::string settings_text(std::span<const FieldDoc> fields);

// A Markdown table: key, type and limits, default, meaning.
std::string settings_markdown(std::span<const FieldDoc> fields);

}  // namespace snell::config
