#include <algorithm>
#include <nlohmann/json.hpp>

#include "snell/core/text.h"
#include "snell/data/dataset_file.h"
#include "snell/io/files.h"

namespace snell::data {

using core::str;

static std::string range_text(int64_t low, int64_t high) {
  return low == high ? std::to_string(low) : str(low, "-", high);
}

static std::string encodings_text(const DatasetInfo& info) {
  std::vector<std::string> parts;
  if (info.num_encoded > 0) parts.push_back(str(info.num_encoded, " image files"));
  if (info.num_raw_grey > 0) parts.push_back(str(info.num_raw_grey, " raw grey"));
  if (info.num_raw_rgb > 0) parts.push_back(str(info.num_raw_rgb, " raw RGB"));
  return core::join(parts);
}

static std::string verify_text(const VerifyReport& report) {
  constexpr size_t kShown = 20;
  if (report.sound()) {
    return str("  verified   every checksum matches: ", report.samples_checked, " samples, ", report.blocks_checked,
               " blocks, the tables\n");
  }
  std::string text = str("  DAMAGED    ", report.damaged_samples.size(), " of ", report.samples_checked,
                         " samples and ", report.damaged_blocks.size(), " of ", report.blocks_checked, " blocks\n");
  for (size_t i = 0; i < std::min(kShown, report.damaged_samples.size()); ++i) {
    text += str("             ", io::printable(report.damaged_samples[i]), "\n");
  }
  if (report.damaged_samples.size() > kShown)
    text += str("             and ", report.damaged_samples.size() - kShown, " more\n");
  return text;
}

std::string dataset_text(const DatasetInfo& info, const VerifyReport* report) {
  std::string text = str(info.file, ": data set '", io::printable(info.name), "'\n");
  text += str("  samples    ", info.num_samples, " (", encodings_text(info), "), ",
              core::human_bytes(double(info.blob_bytes)), " of images, ", core::human_bytes(double(info.file_bytes)),
              " in all\n");
  text += str("  pixels     height ", range_text(info.min_height, info.max_height), ", width ",
              range_text(info.min_width, info.max_width), "\n");
  std::vector<std::string> first(info.class_names.begin(),
                                 info.class_names.begin() + std::min<std::ptrdiff_t>(10, std::ssize(info.class_names)));
  text += str("  classes    ", info.class_names.size(), ": ", io::printable(core::join(first)),
              info.class_names.size() > first.size() ? ", ..." : "", "\n");
  for (const SplitInfo& split : info.splits) {
    const auto [low, high] = std::minmax_element(split.class_counts.begin(), split.class_counts.end());
    text += str("  split      ", io::printable(split.name), ": ", split.size, " samples");
    if (low != split.class_counts.end()) text += str(", ", range_text(*low, *high), " a class");
    text += "\n";
  }
  text += str("  source     ", io::printable(info.source), "\n  licence    ", io::printable(info.licence), "\n");
  text += str("  written    by ", io::printable(info.created_by), ", schema version ", info.schema_version, "\n");
  if (report != nullptr) text += verify_text(*report);
  return text;
}

nlohmann::json dataset_json(const DatasetInfo& info, const VerifyReport* report) {
  nlohmann::json json{
      {"file", info.file},
      {"name", info.name},
      {"source", info.source},
      {"licence", info.licence},
      {"created_by", info.created_by},
      {"schema_version", info.schema_version},
      {"file_bytes", info.file_bytes},
      {"blob_bytes", info.blob_bytes},
      {"num_samples", info.num_samples},
      {"encodings", {{"file", info.num_encoded}, {"raw_grey", info.num_raw_grey}, {"raw_rgb", info.num_raw_rgb}}},
      {"height", {info.min_height, info.max_height}},
      {"width", {info.min_width, info.max_width}},
      {"class_names", info.class_names}};
  for (const SplitInfo& split : info.splits) {
    json["splits"][split.name] = {{"size", split.size}, {"class_counts", split.class_counts}};
  }
  if (report != nullptr) {
    json["verified"] = {{"sound", report->sound()},
                        {"samples_checked", report->samples_checked},
                        {"blocks_checked", report->blocks_checked},
                        {"damaged_samples", report->damaged_samples},
                        {"damaged_blocks", report->damaged_blocks}};
  }
  return json;
}

}  // namespace snell::data
