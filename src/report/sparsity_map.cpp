#include "sparsity_map.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <limits>
#include <vector>

#include "curves.h"
#include "page.h"
#include "snell/core/text.h"
#include "snell/report/chart.h"
#include "snell/report/table.h"

namespace snell::report {

using core::str;
using nlohmann::json;

static constexpr size_t kMaxLayers = 300;
static constexpr double kMaxEntries = 1e15;
static constexpr size_t kMaxColumns = 100;
static constexpr double kWidth = 520;
static constexpr double kNames = 150;
static constexpr double kRight = 10;
static constexpr double kRow = 15;
static constexpr double kFoot = 40;

namespace {

// Shares of kept entries up to `percent` have one shade; most of a run happens near zero, so the steps widen.
struct Shade {
  double percent;
  const char* text;
};
constexpr std::array<Shade, 9> kShades = {{{0, "none"},
                                           {1, "≤ 1 %"},
                                           {2, "≤ 2 %"},
                                           {5, "≤ 5 %"},
                                           {10, "≤ 10 %"},
                                           {25, "≤ 25 %"},
                                           {50, "≤ 50 %"},
                                           {75, "≤ 75 %"},
                                           {100, "≤ 100 %"}}};

struct Layer {
  std::string name;
  std::vector<double> percents;  // kept, by column; NaN: not told
  double kept = 0, entries = 0;  // in the last epoch
};

struct Wandering {
  std::vector<int64_t> epochs;
  std::vector<Layer> layers;  // in the order of their first telling
  Series kept;                // of all layers together, percent
};

}  // namespace

// Evenly spread, the first and the last among them.
static std::vector<const std::pair<const int64_t, json>*> columns_of(const std::map<int64_t, json>& allocations) {
  std::vector<const std::pair<const int64_t, json>*> all, out;
  for (const auto& entry : allocations) all.push_back(&entry);
  const size_t count = std::min(all.size(), kMaxColumns);
  for (size_t i = 0; i < count; ++i) out.push_back(all[count == 1 ? 0 : i * (all.size() - 1) / (count - 1)]);
  return out;
}

static Layer& layer_named(Wandering& w, std::map<std::string, size_t>& numbers, const std::string& name) {
  const auto [found, is_new] = numbers.emplace(name, w.layers.size());
  if (is_new) w.layers.push_back({name, {}, 0, 0});
  return w.layers[found->second];
}

static Wandering wandering_of(const std::map<int64_t, json>& allocations) {
  Wandering w;
  w.kept.name = "kept entries of all layers";
  std::map<std::string, size_t> numbers;
  for (const auto* column : columns_of(allocations)) {
    w.epochs.push_back(column->first);
    double kept_sum = 0, entries_sum = 0;
    const auto list = column->second.find("layers");
    if (list == column->second.end() || !list->is_array()) continue;
    for (const json& told : *list) {
      const auto name = told.find("layer");
      if (!told.is_object() || name == told.end() || !name->is_string()) continue;
      if (numbers.size() >= kMaxLayers && !numbers.contains(name->get<std::string>())) continue;
      const double kept = number_of(told, "kept"), entries = number_of(told, "entries");
      if (!(kept >= 0 && entries > 0 && kept <= entries && entries < kMaxEntries)) continue;
      Layer& layer = layer_named(w, numbers, name->get<std::string>());
      layer.percents.resize(w.epochs.size() - 1, std::numeric_limits<double>::quiet_NaN());
      layer.percents.resize(w.epochs.size(), 100 * kept / entries);
      layer.kept = kept;
      layer.entries = entries;
      kept_sum += kept;
      entries_sum += entries;
    }
    if (entries_sum > 0) w.kept.points.emplace_back(static_cast<double>(column->first), 100 * kept_sum / entries_sum);
  }
  for (Layer& layer : w.layers) layer.percents.resize(w.epochs.size(), std::numeric_limits<double>::quiet_NaN());
  return w;
}

// The shade's number; -1: no telling.
static int shade_of(double percent) {
  if (std::isnan(percent)) return -1;
  size_t i = 0;
  while (i + 1 < kShades.size() && percent > kShades[i].percent) ++i;
  return static_cast<int>(i);
}

static std::string percent_text(double percent) {
  char text[40];
  std::snprintf(text, sizeof text, "%.2f %%", percent);
  return std::isnan(percent) ? "not told" : text;
}

// Equal neighbours are one rectangle, and all of a shade are one path: thousands of cells stay small.
static std::string cells(const std::vector<const Layer*>& rows, size_t num_columns) {
  const double width = (kWidth - kNames - kRight) / static_cast<double>(num_columns);
  std::array<std::string, kShades.size()> paths;
  for (size_t r = 0; r < rows.size(); ++r) {
    const auto& percents = rows[r]->percents;
    for (size_t first = 0, last; first < num_columns; first = last) {
      const int shade = shade_of(percents[first]);
      last = first + 1;
      while (last < num_columns && shade_of(percents[last]) == shade) ++last;
      if (shade < 0) continue;
      char text[100];
      std::snprintf(text, sizeof text, "M%.1f %.0fh%.1fv%.0fh-%.1fz", kNames + width * static_cast<double>(first),
                    kRow * static_cast<double>(r), width * static_cast<double>(last - first), kRow - 1,
                    width * static_cast<double>(last - first));
      paths[static_cast<size_t>(shade)] += text;
    }
  }
  std::string svg;
  for (size_t i = 0; i < paths.size(); ++i) {
    if (!paths[i].empty()) svg += str("<path class=\"h", i, "\" d=\"", paths[i], "\"/>\n");
  }
  return svg;
}

// The name at the left, and a text for the pointer over the whole row.
static std::string row_of(const Layer& layer, const std::string& label, size_t row) {
  const double y = kRow * static_cast<double>(row);
  return str("<text class=\"tick\" x=\"", kNames - 8, "\" y=\"", y + kRow / 2, "\" dy=\"0.32em\" text-anchor=\"end\">",
             escaped(label), "</text><rect class=\"row\" x=\"0\" y=\"", y, "\" width=\"", kWidth, "\" height=\"", kRow,
             "\"><title>", escaped(layer.name), ": kept ", percent_text(layer.percents.front()), " at first, ",
             percent_text(layer.percents.back()), " at last (", with_separators(static_cast<int64_t>(layer.kept)),
             " of ", with_separators(static_cast<int64_t>(layer.entries)), " entries)</title></rect>\n");
}

static std::string epoch_axis(const std::vector<int64_t>& epochs, double height) {
  const double width = (kWidth - kNames - kRight) / static_cast<double>(epochs.size());
  const size_t stride = std::max<size_t>(1, (epochs.size() + 7) / 8);
  std::string svg;
  for (size_t i = 0; i < epochs.size(); i += stride) {
    svg += str("<text class=\"tick\" x=\"", kNames + width * (static_cast<double>(i) + 0.5), "\" y=\"", height + 14,
               "\" text-anchor=\"middle\">", epochs[i], "</text>");
  }
  return svg + str("<text class=\"label\" x=\"", (kNames + kWidth - kRight) / 2, "\" y=\"", height + 32,
                   "\" text-anchor=\"middle\">epoch</text>\n");
}

static std::string map_of(const std::string& kind, const std::vector<const Layer*>& rows, const Wandering& w) {
  const double height = kRow * static_cast<double>(rows.size());
  std::string html =
      str("<figure><figcaption>", escaped(kind), "</figcaption>\n<svg viewBox=\"0 0 ", kWidth, " ", height + kFoot,
          "\" role=\"img\" aria-label=\"share of kept entries by layer and epoch: ", escaped(kind), "\">\n",
          cells(rows, w.epochs.size()));
  for (size_t r = 0; r < rows.size(); ++r) {
    const std::string& name = rows[r]->name;
    html += row_of(*rows[r], name.substr(0, name.size() - std::min(name.size(), kind.size() + 1)), r);
  }
  return html + epoch_axis(w.epochs, height) + "</svg></figure>\n";
}

static std::string shade_legend() {
  std::string html = "<div class=\"legend\"><span>Kept entries:</span>";
  for (size_t i = 0; i < kShades.size(); ++i) {
    html += str("<span><i class=\"shade h", i, "\"></i>", kShades[i].text, "</span>");
  }
  return html + "</div>\n";
}

std::string sparsity_section(const std::map<int64_t, json>& allocations) {
  const Wandering w = wandering_of(allocations);
  if (w.layers.empty()) return "";
  std::vector<std::string> kinds;  // "q", "fc1": a layer's last name
  std::map<std::string, std::vector<const Layer*>> by_kind;
  for (const Layer& layer : w.layers) {
    const std::string kind = layer.name.substr(layer.name.rfind('.') + 1);
    if (by_kind[kind].empty()) kinds.push_back(kind);
    by_kind[kind].push_back(&layer);
  }
  std::string html =
      "<h2>Sparsity of the layers</h2>\n<p class=\"sub\">Once an epoch the layers compete for the entries of ΔW that "
      "stay. A row is a layer, a column an epoch; the stronger its colour, the more of its entries stay. The pointer "
      "on a row tells "
      "its numbers.</p>\n";
  html += shade_legend() + "<div class=\"charts\">";
  for (const std::string& kind : kinds) html += map_of(kind, by_kind[kind], w);
  return html + line_chart({"Kept entries, all layers", "epoch", "percent", {w.kept}, {}}) + "</div>\n";
}

}  // namespace snell::report
