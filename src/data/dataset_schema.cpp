#include "snell/data/dataset_schema.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <map>
#include <set>

#include "snell/core/error.h"
#include "snell/io/files.h"

namespace snell::data {

using core::ConfigError;
using core::str;

namespace {

// A mapping of the file with its place; every key must be asked for, or check_keys() refuses it.
class Section {
 public:
  Section(const std::string& file, std::string path, const YAML::Node& node) : file_(file), path_(std::move(path)) {
    if (!node.IsMap()) fail(node, path_, "must be a mapping of keys to values");
    for (const auto& entry : node) {
      if (!entry.first.IsScalar()) fail(entry.first, path_, "has a key that is not a text");
      const std::string key = entry.first.Scalar();
      if (!values_.emplace(key, entry.second).second) fail(entry.first, full(key), "appears twice");
      order_.push_back(key);
      places_[key] = entry.first;
    }
  }

  [[noreturn]] void fail(const YAML::Node& node, const std::string& key, const std::string& what) const {
    throw ConfigError(str(file_, ":", node.Mark().line + 1, ": '", io::printable(key), "' ", what));
  }
  [[noreturn]] void fail(const std::string& key, const std::string& what) const {
    fail(places_.at(key), full(key), what);
  }

  const std::vector<std::string>& keys() const { return order_; }
  bool has(const std::string& key) const { return values_.contains(key); }
  std::string full(const std::string& key) const { return path_.empty() ? key : path_ + "." + key; }

  void allow(const std::vector<std::string>& allowed) const {
    for (const std::string& key : order_) {
      if (std::find(allowed.begin(), allowed.end(), key) != allowed.end()) continue;
      const std::string near = core::nearest_match(key, allowed);
      fail(key, str("is not a key here; allowed: ", core::join(allowed),
                    near.empty() ? "" : str(". Did you mean '", near, "'?")));
    }
  }

  const YAML::Node& node(const std::string& key) const {
    const auto found = values_.find(key);
    if (found == values_.end()) {
      throw ConfigError(str(file_, ": the key '", full(key), "' is missing"));
    }
    return found->second;
  }

  std::string text(const std::string& key) const {
    const YAML::Node& value = node(key);
    if (!value.IsScalar() || value.Scalar().empty()) fail(key, "must be a text");
    return value.Scalar();
  }

  int64_t number(const std::string& key, int64_t low, int64_t high) const {
    const std::string value = node(key).IsScalar() ? node(key).Scalar() : "";
    int64_t number = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
    if (error != std::errc() || end != value.data() + value.size() || number < low || number > high) {
      fail(key, str("is '", io::printable(value), "'; a whole number from ", low, " to ", high, " is needed"));
    }
    return number;
  }

  bool boolean(const std::string& key) const {
    const std::string value = node(key).IsScalar() ? node(key).Scalar() : "";
    if (value != "true" && value != "false") fail(key, str("is '", io::printable(value), "'; true or false is needed"));
    return value == "true";
  }

  std::vector<std::string> texts(const std::string& key) const {
    if (!node(key).IsSequence()) fail(key, "must be a list of texts");
    std::vector<std::string> out;
    for (const auto& item : node(key)) {
      if (!item.IsScalar() || item.Scalar().empty()) fail(item, full(key), "must be a list of texts");
      if (std::find(out.begin(), out.end(), item.Scalar()) != out.end()) {
        fail(item, full(key), str("names '", io::printable(item.Scalar()), "' twice"));
      }
      out.push_back(item.Scalar());
    }
    return out;
  }

 private:
  const std::string& file_;
  std::string path_;
  std::map<std::string, YAML::Node> values_, places_;
  std::vector<std::string> order_;
};

// Keys that a layout has besides the common ones.
struct Layout {
  const char* name;
  std::vector<std::string> keys, split_keys;
};

const std::vector<Layout>& layouts() {
  static const std::vector<Layout> all{
      {"idx", {}, {"images", "labels"}},
      {"csv", {"file", "height", "width", "seed"}, {"take", "rest", "union"}},
      {"vtab", {}, {"list"}},
      {"fgvc", {"image_root"}, {"list"}},
      {"imagefolder", {}, {"folder", "optional"}},
  };
  return all;
}

const Layout& find_layout(const Section& top, const std::string& name) {
  std::vector<std::string> known;
  for (const Layout& layout : layouts()) {
    if (layout.name == name) return layout;
    known.push_back(layout.name);
  }
  const std::string near = core::nearest_match(name, known);
  top.fail("layout", str("is '", io::printable(name), "'; one of ", core::join(known), " is needed",
                         near.empty() ? "" : str(". Did you mean '", near, "'?")));
}

// A split's name becomes a group in the HDF5 file and a word on the command line.
void check_name(const Section& section, const std::string& key, const std::string& name) {
  const bool plain = !name.empty() && name.size() <= 64 && std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return std::isalnum(c) || c == '_' || c == '-';
  });
  if (!plain) section.fail(key, "must be of letters, digits, '_' and '-'");
}

SplitSchema read_split(const Section& section, const std::string& name, const Layout& layout) {
  section.allow(layout.split_keys);
  SplitSchema split;
  split.name = name;
  const std::string kind = layout.name;
  if (kind == "idx") {
    split.images = section.text("images");
    split.labels = section.text("labels");
  } else if (kind == "vtab" || kind == "fgvc") {
    split.list = section.text("list");
  } else if (kind == "imagefolder") {
    split.folder = section.text("folder");
    if (section.has("optional")) split.optional = section.boolean("optional");
  } else {
    if (section.keys().size() != 1)
      section.fail(section.keys().empty() ? "" : section.keys()[1], "is one key too many");
    if (section.has("take")) split.take = section.number("take", 1, std::numeric_limits<int32_t>::max());
    if (section.has("rest")) split.rest = section.boolean("rest");
    if (section.has("union")) split.parts = section.texts("union");
  }
  return split;
}

void check_unions(const Section& splits, const std::vector<SplitSchema>& all) {
  std::vector<std::string> drawn;
  for (const SplitSchema& split : all) {
    if (split.take > 0 || split.rest) drawn.push_back(split.name);
  }
  for (const SplitSchema& split : all) {
    for (const std::string& part : split.parts) {
      if (std::find(drawn.begin(), drawn.end(), part) == drawn.end()) {
        splits.fail(split.name,
                    str("unites the unknown split '", io::printable(part), "'; known: ", core::join(drawn)));
      }
    }
  }
}

void read_splits(const std::string& file, const YAML::Node& node, const Layout& layout, DatasetSchema& schema) {
  const Section splits(file, "splits", node);
  if (splits.keys().empty()) throw ConfigError(str(file, ": 'splits' names no split"));
  for (const std::string& name : splits.keys()) {
    check_name(splits, name, name);
    const Section section(file, splits.full(name), splits.node(name));
    if (section.keys().empty()) splits.fail(name, str("is empty; allowed: ", core::join(layout.split_keys)));
    schema.splits.push_back(read_split(section, name, layout));
  }
  check_unions(splits, schema.splits);
}

DatasetSchema read_schema(const std::string& file, const YAML::Node& root) {
  const Section top(file, "", root);
  DatasetSchema schema;
  schema.file = file;
  schema.layout = top.text("layout");
  const Layout& layout = find_layout(top, schema.layout);
  std::vector<std::string> allowed{"name", "layout", "source", "licence", "num_classes", "class_names", "splits"};
  allowed.insert(allowed.end(), layout.keys.begin(), layout.keys.end());
  top.allow(allowed);
  schema.name = top.text("name");
  check_name(top, "name", schema.name);
  schema.source = top.text("source");
  schema.licence = top.text("licence");
  const bool folders = schema.layout == "imagefolder";
  if (!folders || top.has("num_classes")) schema.num_classes = top.number("num_classes", folders ? 0 : 1, 1'000'000);
  if (top.has("class_names")) {
    schema.class_names = top.texts("class_names");
    if (std::ssize(schema.class_names) != schema.num_classes) {
      top.fail("class_names", str("has ", schema.class_names.size(), " names for ", schema.num_classes, " classes"));
    }
  }
  if (top.has("image_root")) schema.image_root = top.text("image_root");
  if (schema.layout == "csv") {
    schema.table = top.text("file");
    schema.height = top.number("height", 1, 4096);
    schema.width = top.number("width", 1, 4096);
    if (top.has("seed"))
      schema.seed = static_cast<uint64_t>(top.number("seed", 0, std::numeric_limits<int64_t>::max()));
  }
  read_splits(file, top.node("splits"), layout, schema);
  return schema;
}

[[noreturn]] void raise_config_error(const std::string& message) {
  throw ConfigError(message);
}

}  // namespace

DatasetSchema load_schema(const std::string& file) {
  constexpr uint64_t kMaxSchemaBytes = 1 << 20;
  const std::vector<std::byte> bytes = io::read_file(file, kMaxSchemaBytes, raise_config_error);
  try {
    const YAML::Node root = YAML::Load(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
    return read_schema(file, root);
  } catch (const YAML::Exception& error) {
    throw ConfigError(str(file, ":", error.mark.line + 1, ": not YAML: ", io::printable(error.msg)));
  }
}

}  // namespace snell::data
