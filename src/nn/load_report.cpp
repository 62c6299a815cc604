#include <algorithm>
#include <array>
#include <cctype>
#include <map>

#include "snell/nn/load_weights.h"

namespace snell::nn {
namespace {

constexpr std::array<const char*, 6> kActions{"loaded", "mapped", "converted", "resized", "ignored", "missing"};

const char* name_of(LoadAction action) {
  return kActions.at(static_cast<size_t>(action));
}

// "blocks.11.norm1" -> "blocks.*.norm1": numbers that stand alone between dots, slashes or underscores.
std::string without_numbers(const std::string& name) {
  std::string out;
  for (size_t i = 0; i < name.size();) {
    const bool starts = i == 0 || std::string_view("./_").find(name[i - 1]) != std::string_view::npos;
    size_t end = i;
    while (end < name.size() && std::isdigit(static_cast<unsigned char>(name[end])) != 0) ++end;
    const bool alone = starts && end > i && (end == name.size() || name[end] == '.' || name[end] == '/');
    if (alone) {
      out += '*';
      i = end;
    } else {
      out += name[i++];
    }
  }
  return out;
}

}  // namespace

int64_t LoadReport::count(LoadAction action) const {
  return std::ranges::count_if(tensors, [&](const auto& tensor) { return tensor.action == action; });
}

std::vector<std::string> LoadReport::names(LoadAction action) const {
  std::vector<std::string> out;
  for (const auto& tensor : tensors) {
    if (tensor.action == action) out.push_back(tensor.name);
  }
  return out;
}

std::string LoadReport::text() const {
  std::string out = core::str("weights from ", path, " (", format, "): ");
  std::vector<std::string> parts;
  for (size_t i = 0; i < kActions.size(); ++i) {
    const int64_t n = count(static_cast<LoadAction>(i));
    if (n > 0) parts.push_back(core::str(n, " ", kActions.at(i)));
  }
  return out + core::join(parts);
}

std::string LoadReport::table() const {
  struct Row {
    LoadAction action;
    std::string name, note;
    int64_t count = 0;
  };
  std::vector<Row> rows;
  for (const auto& tensor : tensors) {
    const Row row{tensor.action, without_numbers(tensor.name), without_numbers(tensor.note)};
    auto same = std::ranges::find_if(rows, [&](const Row& other) {
      return other.action == row.action && other.name == row.name && other.note == row.note;
    });
    if (same == rows.end()) same = rows.insert(rows.end(), row);
    ++same->count;
  }
  std::ranges::stable_sort(rows, {}, [](const Row& row) { return row.action; });
  size_t width = 6;
  for (const auto& row : rows) width = std::max(width, row.name.size());
  const auto padded = [](std::string text, size_t to) {
    text.resize(std::max(text.size(), to), ' ');
    return text;
  };
  std::string out = padded("", 11) + "count  " + padded("tensor", width) + "  from\n";
  for (const auto& row : rows) {
    const std::string count = std::to_string(row.count);
    out += padded(name_of(row.action), 11) + std::string(5 - std::min<size_t>(count.size(), 5), ' ') + count + "  " +
           (row.note.empty() ? row.name : padded(row.name, width) + "  " + row.note) + "\n";
  }
  return out;
}

}  // namespace snell::nn
