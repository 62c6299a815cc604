#include "safetensors_header.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "snell/core/text.h"
#include "snell/io/files.h"

namespace snell::io {

using core::str;

namespace {

constexpr size_t kMaxText = 8 << 20;

std::optional<DType> dtype_named(const std::string& name) {
  for (DType dtype : {DType::kBool, DType::kU8, DType::kI8, DType::kI16, DType::kI32, DType::kI64, DType::kF16,
                      DType::kBF16, DType::kF32, DType::kF64}) {
    if (name == name_of(dtype)) return dtype;
  }
  return std::nullopt;
}

// Events of the JSON parser, which keeps no tree: the header of a hostile file may have 100 MB. Accepts exactly
//   {"__metadata__": {text: text, ...}, name: {"dtype": text, "shape": [n, ...], "data_offsets": [n, n]}, ...}
class HeaderEvents : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit HeaderEvents(SafetensorsHeader& header) : header_(header) {}
  const std::string& problem() const { return problem_; }

  bool start_object(size_t) override {
    if (state_ == State::kStart) return go(State::kTop);
    if (state_ == State::kEntry) return go(entry_is_metadata_ ? State::kMetadata : State::kTensor);
    return refuse("an object where none belongs");
  }

  bool end_object() override {
    if (state_ == State::kTop) return go(State::kEnd);
    if (state_ == State::kMetadata) return go(State::kTop);
    if (state_ != State::kTensor) return refuse("an object ends where none belongs");
    for (const char* key : {"dtype", "shape", "data_offsets"}) {
      if (!fields_.contains(key)) return refuse(str("the key '", key, "' is missing"));
    }
    if (offsets_.size() != 2) return refuse("data_offsets must be two numbers");
    current_.begin = offsets_[0];
    current_.end = offsets_[1];
    header_.tensors.push_back(std::move(current_));
    return go(State::kTop);
  }

  bool key(std::string& name) override {
    if (state_ == State::kTop) {
      if (names_.size() > kMaxTensors) return refuse(str("more than ", kMaxTensors, " tensors"));
      if (!names_.insert(name).second) return refuse(str("the key '", printable(name), "' appears twice"));
      entry_is_metadata_ = name == "__metadata__";
      current_ = {};
      current_.name = name;
      fields_.clear();
      offsets_.clear();
      return go(State::kEntry);
    }
    if (state_ == State::kMetadata) {
      key_ = name;
      if (header_.metadata.size() == kMaxMetadata) return refuse(str("more than ", kMaxMetadata, " metadata"));
      if (header_.metadata.contains(name)) return refuse(str("the key '", printable(name), "' appears twice"));
      return true;
    }
    key_ = name;
    if (name != "dtype" && name != "shape" && name != "data_offsets") {
      return refuse(str("the unknown key '", printable(name), "'"));
    }
    if (!fields_.insert(name).second) return refuse(str("the key '", name, "' appears twice"));
    return true;
  }

  bool string(std::string& value) override {
    if (state_ == State::kMetadata) {
      header_.metadata.emplace(key_, value);
      return true;
    }
    if (state_ != State::kTensor || key_ != "dtype") return refuse("a text where none belongs");
    const std::optional<DType> dtype = dtype_named(value);
    if (!dtype) return refuse(str("the data type '", printable(value), "' is not supported"));
    current_.dtype = *dtype;
    return true;
  }

  bool start_array(size_t) override {
    if (state_ == State::kTensor && key_ != "dtype") return go(State::kArray);
    return refuse("a list where none belongs");
  }
  bool end_array() override { return go(State::kTensor); }

  bool number_unsigned(uint64_t value) override {
    if (state_ != State::kArray) return refuse("a number where none belongs");
    if (key_ == "data_offsets") {
      if (offsets_.size() == 2) return refuse("data_offsets must be two numbers");
      offsets_.push_back(value);
      return true;
    }
    if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return refuse("an extent is too large");
    if (current_.shape.size() == kMaxDimensions) return refuse(str("more than ", kMaxDimensions, " dimensions"));
    current_.shape.push_back(static_cast<int64_t>(value));
    return true;
  }

  bool number_integer(int64_t) override { return refuse("a negative number"); }
  bool number_float(double, const std::string&) override { return refuse("a number that is not a whole one in range"); }
  bool null() override { return refuse("a null"); }
  bool boolean(bool) override { return refuse("a true or false"); }
  bool binary(nlohmann::json::binary_t&) override { return refuse("binary data"); }

  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception&) override {
    if (problem_.empty()) problem_ = str("its header is not JSON at byte ", position);
    return false;
  }

 private:
  enum class State { kStart, kTop, kEntry, kMetadata, kTensor, kArray, kEnd };
  // Each entry costs more memory than text: these keep a header of 100 MB within the budget of budget.h.
  static constexpr size_t kMaxDimensions = 64, kMaxTensors = 1 << 17, kMaxMetadata = 1 << 16;

  bool go(State next) {
    state_ = next;
    return true;
  }

  bool refuse(const std::string& what) {
    problem_ = str("its header has ", what);
    if (!current_.name.empty()) problem_ += str(" (at '", printable(current_.name), "')");
    return false;
  }

  SafetensorsHeader& header_;
  State state_ = State::kStart;
  bool entry_is_metadata_ = false;
  TensorEntry current_;
  std::string key_, problem_;
  std::vector<uint64_t> offsets_;
  std::set<std::string> names_, fields_;
};

// The longest text between two quotes; the JSON parser holds it several times.
size_t longest_text(std::string_view json) {
  size_t longest = 0, length = 0;
  bool inside = false;
  for (size_t i = 0; i < json.size(); ++i) {
    if (json[i] == '"') {
      inside = !inside;
      length = 0;
    } else if (inside) {
      if (json[i] == '\\') ++i;
      longest = std::max(longest, ++length);
    }
  }
  return longest;
}

std::string check_layout(const std::vector<TensorEntry>& tensors, uint64_t data_size) {
  uint64_t position = 0;
  for (const TensorEntry& entry : tensors) {
    const std::string name = str("tensor '", printable(entry.name), "'");
    if (entry.end < entry.begin) return str(name, " ends before it begins");
    if (entry.begin != position) return str(name, " leaves a hole or overlaps another at byte ", entry.begin);
    const std::optional<int64_t> bytes = byte_count(entry.dtype, entry.shape);
    if (!bytes) return str(name, " has the impossible shape ", shape_text(entry.shape));
    if (entry.end - entry.begin != static_cast<uint64_t>(*bytes)) {
      return str(name, " ", name_of(entry.dtype), " ", shape_text(entry.shape), " needs ", *bytes,
                 " bytes, the header gives it ", entry.end - entry.begin);
    }
    position = entry.end;
  }
  if (position != data_size) {
    return str("its tensors need ", position, " bytes, ", data_size, " follow the header",
               data_size < position ? ": it is cut off" : "");
  }
  return "";
}

}  // namespace

std::string parse_safetensors_header(std::string_view text, uint64_t data_size, SafetensorsHeader& header) {
  if (!text.starts_with('{')) return "its header does not start with '{'";
  // The JSON parser would take it for the end and leave out what follows.
  if (text.find('\0') != std::string_view::npos) return "its header is not JSON: it holds a zero byte";
  if (longest_text(text) > kMaxText) return str("its header has a text of more than ", kMaxText, " letters");
  HeaderEvents events(header);
  if (!nlohmann::json::sax_parse(text, &events)) return events.problem();
  // Empty tensors sort before the one that starts at the same byte.
  std::sort(header.tensors.begin(), header.tensors.end(), [](const TensorEntry& a, const TensorEntry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  return check_layout(header.tensors, data_size);
}

}  // namespace snell::io
