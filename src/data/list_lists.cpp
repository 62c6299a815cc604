// Data sets whose splits are lists of images: VTAB-1k as SSF publishes it, and the fine-grained sets as VPT does.
#include <algorithm>
#include <charconv>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string_view>
#include <variant>

#include "listing.h"
#include "snell/core/error.h"
#include "snell/io/files.h"

namespace snell::data {

using core::DataError;
using core::str;

namespace {

using Class = std::variant<int64_t, std::string>;  // numbers sort before texts

std::string class_text(const Class& value) {
  return std::holds_alternative<int64_t>(value) ? std::to_string(std::get<int64_t>(value))
                                                : std::get<std::string>(value);
}

// {"path": class, ...}, in the file's order and with repeated keys, which a tree of JSON values would hide.
class SplitEvents : public nlohmann::json_sax<nlohmann::json> {
 public:
  std::vector<std::pair<std::string, Class>> entries;
  std::string problem;

  bool start_object(size_t) override { return depth_++ == 0 || refuse(); }
  bool end_object() override { return true; }
  bool key(std::string& name) override {
    key_ = name;
    return true;
  }
  bool string(std::string& value) override { return add(value); }
  bool number_unsigned(uint64_t value) override {
    return value <= INT64_MAX ? add(static_cast<int64_t>(value)) : refuse();
  }
  bool number_integer(int64_t value) override { return add(value); }
  bool number_float(double, const std::string&) override { return refuse(); }
  bool null() override { return refuse(); }
  bool boolean(bool) override { return refuse(); }
  bool binary(nlohmann::json::binary_t&) override { return refuse(); }
  bool start_array(size_t) override { return refuse(); }
  bool end_array() override { return true; }
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception&) override {
    problem = str("is not JSON at byte ", position);
    return false;
  }

 private:
  bool add(Class value) {
    if (depth_ == 0) return refuse();
    entries.emplace_back(key_, std::move(value));
    return true;
  }
  bool refuse() {
    problem =
        str("is not a mapping of image paths to classes", key_.empty() ? "" : str(" (at '", io::printable(key_), "')"));
    return false;
  }
  int depth_ = 0;
  std::string key_;
};

std::string list_file(const DatasetSchema& schema, const std::string& source, const SplitSchema& split) {
  const std::filesystem::path file = std::filesystem::path(source) / split.list;
  if (!std::filesystem::is_regular_file(file)) {
    throw DataError(str("the list of split ", split.name, ", '", file.string(), "', is missing", how_to_get(schema)));
  }
  return file.string();
}

std::string read_text(const std::string& file) {
  const std::vector<std::byte> bytes = io::read_file(file, kMaxSourceFile, io::raise_data_error);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// The reference's numbering: sorted(set(values)), 0 to C - 1. Numbers sort as numbers, texts as texts.
std::vector<Class> sorted_classes(const DatasetSchema& schema, const std::string& source,
                                  const std::vector<SplitEvents>& lists) {
  std::vector<Class> classes;
  for (const SplitEvents& list : lists) {
    for (const auto& [path, value] : list.entries) classes.push_back(value);
  }
  std::sort(classes.begin(), classes.end());
  classes.erase(std::unique(classes.begin(), classes.end()), classes.end());
  if (!classes.empty() && classes.front().index() != classes.back().index()) {
    throw DataError(str("the lists in '", source, "' name some classes by numbers and some by texts"));
  }
  if (std::ssize(classes) != schema.num_classes) {
    throw DataError(str("the lists in '", source, "' name ", classes.size(), " classes, ", schema.file, " says ",
                        schema.num_classes, "; the lists may be incomplete", how_to_get(schema)));
  }
  return classes;
}

}  // namespace

Listing list_vtab(const DatasetSchema& schema, const std::string& source) {
  Listing listing(schema);
  if (listing.class_names.empty()) listing.class_names = numbered_classes(schema.num_classes);
  for (const SplitSchema& split : schema.splits) {
    const std::string content = read_text(list_file(schema, source, split));
    std::string_view text = content;
    listing.begin_split(split.name);
    for (size_t number = 1; !text.empty(); ++number) {
      std::string_view line = text.substr(0, text.find('\n'));
      text.remove_prefix(std::min(text.size(), line.size() + 1));
      while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.remove_suffix(1);
      if (line.empty()) continue;
      const size_t space = line.find_last_of(" \t");  // a path may hold spaces
      const std::string_view word = line.substr(space == std::string_view::npos ? 0 : space + 1);
      int64_t label = 0;
      const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), label);
      if (space == std::string_view::npos || error != std::errc() || end != word.data() + word.size()) {
        listing.problem(str(split.list, ":", number), "the line is not a path and a label");
        continue;
      }
      listing.add_file("", std::string(line.substr(0, line.find_last_not_of(" \t", space) + 1)), label);
    }
  }
  return listing;
}

Listing list_fgvc(const DatasetSchema& schema, const std::string& source) {
  std::vector<SplitEvents> lists(schema.splits.size());
  for (size_t s = 0; s < lists.size(); ++s) {
    const std::string file = list_file(schema, source, schema.splits[s]);
    if (!nlohmann::json::sax_parse(read_text(file), &lists[s])) {
      throw DataError(str("'", file, "' ", lists[s].problem, "; fetch it again"));
    }
  }
  const std::vector<Class> classes = sorted_classes(schema, source, lists);
  Listing listing(schema);
  if (listing.class_names.empty()) {
    for (const Class& value : classes) listing.class_names.push_back(class_text(value));
  }
  for (size_t s = 0; s < lists.size(); ++s) {
    listing.begin_split(schema.splits[s].name);
    for (const auto& [path, value] : lists[s].entries) {
      listing.add_file(schema.image_root, path,
                       std::lower_bound(classes.begin(), classes.end(), value) - classes.begin());
    }
  }
  return listing;
}

}  // namespace snell::data
