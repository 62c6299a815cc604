// A table of grey images: a row an image, its height × width pixels (0 to 255) and the label, separated by commas.
#include <algorithm>
#include <charconv>
#include <filesystem>
#include <numeric>
#include <set>
#include <string_view>

#include "listing.h"
#include "snell/core/error.h"
#include "snell/core/random.h"
#include "snell/io/files.h"

namespace snell::data {

using core::DataError;
using core::str;

namespace {

// "" or what is wrong with the row. A row of pixels is appended to `pixels`.
std::string read_row(std::string_view row, size_t num_pixels, std::vector<std::byte>& pixels, int64_t& label) {
  const char* at = row.data();
  const char* const end = at + row.size();
  for (size_t column = 0; column <= num_pixels; ++column) {
    int64_t value = 0;
    const auto [next, error] = std::from_chars(at, end, value);
    const bool last = column == num_pixels;
    if (error != std::errc()) return str("column ", column + 1, " is not a whole number");
    if (last ? next != end : (next == end || *next != ',')) {
      return str("it needs ", num_pixels + 1, " whole numbers, and column ", column + 1, " ends otherwise");
    }
    if (!last && (value < 0 || value > 255))
      return str("column ", column + 1, " is ", value, ", not a pixel of 0 to 255");
    if (last) {
      label = value;
    } else {
      pixels.push_back(static_cast<std::byte>(value));
    }
    at = next + 1;
  }
  return "";
}

// The rows of each drawn split: a shuffle that depends on the seed alone, cut into the `take`s in the schema's order
// and the rest. Each split is then read in the table's order.
void draw_splits(const DatasetSchema& schema, const std::vector<uint64_t>& rows, const std::string& file,
                 Listing& listing) {
  std::vector<uint64_t> order = rows;
  core::RandomStream random({schema.seed, core::Purpose::kShuffle, 0, 0, 0});
  for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.below(static_cast<uint32_t>(i))]);
  size_t taken = 0;
  std::map<std::string, std::vector<uint64_t>> drawn;
  for (const SplitSchema& split : schema.splits) {
    const size_t take = static_cast<size_t>(split.take);
    if (take > order.size() - taken) {
      throw DataError(
          str("'", file, "' has ", order.size(), " usable rows, too few for the ", take, " of split ", split.name));
    }
    drawn[split.name].assign(order.begin() + static_cast<std::ptrdiff_t>(taken),
                             order.begin() + static_cast<std::ptrdiff_t>(taken + take));
    taken += take;
  }
  for (const SplitSchema& split : schema.splits) {
    if (split.rest) drawn[split.name].assign(order.begin() + static_cast<std::ptrdiff_t>(taken), order.end());
  }
  for (const SplitSchema& split : schema.splits) {
    std::set<uint64_t> chosen(drawn[split.name].begin(), drawn[split.name].end());
    for (const std::string& part : split.parts) chosen.insert(drawn[part].begin(), drawn[part].end());
    listing.begin_split(split.name);
    for (uint64_t row : chosen) listing.add_index(row);
  }
}

}  // namespace

Listing list_csv(const DatasetSchema& schema, const std::string& source) {
  const std::string file = std::filesystem::is_regular_file(source) ? source : find_file(schema, source, schema.table);
  const std::vector<std::byte> bytes = io::read_maybe_gzipped(file, kMaxSourceFile, io::raise_data_error);
  std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const std::string name = std::filesystem::path(file).filename().string();
  const size_t num_pixels = static_cast<size_t>(schema.height * schema.width);

  Listing listing(schema);
  if (listing.class_names.empty()) listing.class_names = numbered_classes(schema.num_classes);
  std::vector<uint64_t> usable;
  for (size_t line = 1; !text.empty(); ++line) {
    std::string_view row = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), row.size() + 1));
    if (row.ends_with('\r')) row.remove_suffix(1);
    if (row.empty()) continue;
    auto pixels = std::make_shared<std::vector<std::byte>>();
    int64_t label = 0;
    const std::string sample = str(name, ":", line);
    if (const std::string problem = read_row(row, num_pixels, *pixels, label); !problem.empty()) {
      listing.problem(sample, problem);
      continue;
    }
    const uint64_t index = listing.add_raw({sample, label, Encoding::kRawGrey, static_cast<uint32_t>(schema.height),
                                            static_cast<uint32_t>(schema.width), *pixels, false});
    listing.keep_alive.push_back(std::move(pixels));
    if (!listing.samples[index].dropped) usable.push_back(index);
  }
  draw_splits(schema, usable, file, listing);
  return listing;
}

}  // namespace snell::data
