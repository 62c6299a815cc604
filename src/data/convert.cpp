#include "snell/data/convert.h"

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>
#include <utility>

#include "image_header.h"
#include "listing.h"
#include "snell/core/error.h"
#include "snell/core/registry.h"
#include "snell/data/dataset_writer.h"
#include "snell/data/decode.h"
#include "snell/io/files.h"

namespace snell::data {

using core::DataError;
using core::str;
namespace fs = std::filesystem;

namespace {

constexpr uint64_t kMaxImageBytes = uint64_t{1} << 30;  // of one image file

using ListFunction = Listing (*)(const DatasetSchema&, const std::string& source);

core::Registry<ListFunction> layout_registry() {
  core::Registry<ListFunction> layouts("layout of a data set");
  layouts.add("idx", list_idx);
  layouts.add("csv", list_csv);
  layouts.add("vtab", list_vtab);
  layouts.add("fgvc", list_fgvc);
  layouts.add("imagefolder", list_imagefolder);
  return layouts;
}

class Conversion {
 public:
  Conversion(const DatasetSchema& schema, const std::string& source, const std::string& output,
             const ConvertOptions& options)
      : schema_(schema), source_(source), output_(output), options_(options) {}

  ConvertReport run() {
    check_ends();
    listing_ = layout_registry().get(schema_.layout)(schema_, source_);
    examine_all();
    report_.skipped = listing_->problems;
    if (!report_.skipped.empty()) {
      if (options_.on_error == OnError::kFail) raise_problems();
      write_skipped();
    }
    write(plan());
    return std::move(report_);
  }

 private:
  void check_ends() const {
    if (!fs::exists(source_)) throw DataError(str("'", source_, "' does not exist", how_to_get(schema_)));
    if (fs::exists(output_) && !options_.overwrite) {
      throw DataError(str("'", output_, "' exists already; delete it or ask to overwrite it"));
    }
  }

  void tell_progress(size_t done) const {
    if (options_.progress) {
      options_.progress(static_cast<int64_t>(done), static_cast<int64_t>(2 * listing_->samples.size()));
    }
  }

  std::vector<std::byte> read_image(const ListedSample& sample) const {
    return io::read_file((fs::path(source_) / sample.name).string(), kMaxImageBytes, io::raise_data_error);
  }

  // Finds each sample's size, or what is wrong with it. Several threads take the next sample each; what they find is
  // noted in the listing's order.
  void examine_all() {
    const size_t count = listing_->samples.size();
    num_bytes_.resize(count);
    std::vector<std::string> problems(count);
    std::atomic<size_t> next{0};
    const auto work = [&](bool tells) {
      for (size_t i = next++; i < count; i = next++) {
        problems[i] = examine(i);
        if (tells) tell_progress(i);
      }
    };
    const size_t threads = options_.threads > 0 ? static_cast<size_t>(options_.threads)
                                                : std::max<size_t>(1, std::thread::hardware_concurrency());
    {
      std::vector<std::jthread> others;
      for (size_t t = 1; t < std::min(threads, count); ++t) others.emplace_back(work, false);
      work(true);
    }
    for (size_t i = 0; i < count; ++i) {
      if (problems[i].empty()) continue;
      listing_->samples[i].dropped = true;
      listing_->problem(listing_->samples[i].name, problems[i]);
    }
  }

  // Returns "" or what is wrong.
  std::string examine(size_t i) {
    ListedSample& sample = listing_->samples[i];
    num_bytes_[i] = sample.pixels.size();
    if (sample.dropped || sample.encoding != Encoding::kFile) return "";
    try {
      Sample image;
      image.bytes = read_image(sample);
      num_bytes_[i] = image.bytes.size();
      ImageHeader header;
      if (std::string problem = read_image_header(image.bytes, header); !problem.empty()) return problem;
      sample.height = header.height;
      sample.width = header.width;
      if (options_.decode) decode(image, sample.name);
      return "";
    } catch (const std::exception& error) {
      return error.what();
    }
  }

  [[noreturn]] void raise_problems() const {
    constexpr size_t kShown = 20;
    std::string text = str("'", source_, "' cannot be converted: ", report_.skipped.size(), " bad images or entries");
    for (size_t i = 0; i < std::min(kShown, report_.skipped.size()); ++i) {
      text += str("\n  ", io::printable(report_.skipped[i].path), ": ", io::printable(report_.skipped[i].reason));
    }
    if (report_.skipped.size() > kShown) text += str("\n  and ", report_.skipped.size() - kShown, " more");
    throw DataError(text + "\nMend the source, or leave them out with on_error=skip");
  }

  void write_skipped() {
    std::string text;
    for (const SkippedImage& image : report_.skipped) {
      text += str(io::printable(image.path), "\t", io::printable(image.reason), "\n");
    }
    report_.skipped_file = output_ + ".skipped.txt";
    io::write_file(report_.skipped_file, text);
  }

  struct Plan {
    std::vector<size_t> kept;  // numbers in the listing
    std::vector<SampleEntry> entries;
    std::vector<SplitEntry> splits;
  };

  // The samples that are left, renumbered.
  Plan plan() {
    Plan plan;
    std::vector<uint64_t> number(listing_->samples.size());
    for (size_t i = 0; i < listing_->samples.size(); ++i) {
      const ListedSample& sample = listing_->samples[i];
      if (sample.dropped) continue;
      number[i] = plan.kept.size();
      plan.kept.push_back(i);
      plan.entries.push_back({sample.name, sample.label, sample.encoding, sample.height, sample.width, num_bytes_[i]});
    }
    for (const SplitEntry& split : listing_->splits) {
      SplitEntry left{split.name, {}};
      for (uint64_t index : split.indices) {
        if (!listing_->samples[index].dropped) left.indices.push_back(number[index]);
      }
      if (left.indices.empty()) throw DataError(str("split ", split.name, " of '", source_, "' has no usable image"));
      report_.splits.emplace_back(split.name, std::ssize(left.indices));
      plan.splits.push_back(std::move(left));
    }
    return plan;
  }

  void write(Plan plan) {
    DatasetWriter writer(output_,
                         {schema_.name, schema_.source, schema_.licence, options_.created_by, listing_->class_names},
                         plan.entries, std::move(plan.splits));
    for (size_t k = 0; k < plan.kept.size(); ++k) {
      const ListedSample& sample = listing_->samples[plan.kept[k]];
      if (sample.encoding == Encoding::kFile) {
        const std::vector<std::byte> bytes = read_image(sample);
        if (bytes.size() != plan.entries[k].num_bytes) {
          throw DataError(str("'", sample.name, "' changed while it was converted; start again"));
        }
        writer.add(bytes);
      } else {
        writer.add(sample.pixels);
      }
      report_.blob_bytes += static_cast<int64_t>(plan.entries[k].num_bytes);
      tell_progress(listing_->samples.size() + k);
    }
    writer.commit();
    report_.output = output_;
    report_.num_samples = std::ssize(plan.kept);
    report_.num_classes = std::ssize(listing_->class_names);
    if (options_.progress) {
      const int64_t total = 2 * std::ssize(listing_->samples);
      options_.progress(total, total);
    }
  }

  const DatasetSchema& schema_;
  const std::string& source_;
  const std::string& output_;
  const ConvertOptions& options_;
  std::optional<Listing> listing_;
  std::vector<uint64_t> num_bytes_;
  ConvertReport report_;
};

}  // namespace

ConvertReport convert(const DatasetSchema& schema, const std::string& source, const std::string& output,
                      const ConvertOptions& options) {
  return Conversion(schema, source, output, options).run();
}

std::string convert_text(const ConvertReport& report) {
  std::string text = str(report.output, ": ", report.num_samples, " images of ", report.num_classes, " classes, ",
                         core::human_bytes(static_cast<double>(report.blob_bytes)), "\n");
  for (const auto& [name, size] : report.splits) text += str("  split ", name, ": ", size, " images\n");
  if (!report.skipped.empty()) {
    text += str("  left out: ", report.skipped.size(), " images or entries, listed in ", report.skipped_file, "\n");
  }
  return text;
}

nlohmann::json convert_json(const ConvertReport& report) {
  nlohmann::json json{
      {"output", report.output},         {"num_samples", report.num_samples},    {"num_classes", report.num_classes},
      {"blob_bytes", report.blob_bytes}, {"num_skipped", report.skipped.size()}, {"skipped_file", report.skipped_file}};
  for (const auto& [name, size] : report.splits) json["splits"][name] = size;
  return json;
}

}  // namespace snell::data
