#include "npy_header.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "snell/core/text.h"
#include "snell/io/files.h"

namespace snell::io {

using core::str;

namespace {

// Reads the Python dictionary {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), } from left to right.
class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}

  bool take(char c) {
    skip_spaces();
    if (position_ >= text_.size() || text_[position_] != c) return false;
    ++position_;
    return true;
  }

  bool take_word(std::string_view word) {
    skip_spaces();
    if (!text_.substr(position_).starts_with(word)) return false;
    position_ += word.size();
    return true;
  }

  std::optional<std::string> quoted() {
    skip_spaces();
    if (position_ >= text_.size() || (text_[position_] != '\'' && text_[position_] != '"')) return std::nullopt;
    const size_t end = text_.find(text_[position_], position_ + 1);
    if (end == std::string_view::npos) return std::nullopt;
    std::string out(text_.substr(position_ + 1, end - position_ - 1));
    position_ = end + 1;
    return out;
  }

  std::optional<int64_t> number() {
    skip_spaces();
    const size_t begin = position_;
    int64_t value = 0;
    for (; position_ < text_.size() && text_[position_] >= '0' && text_[position_] <= '9'; ++position_) {
      if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, text_[position_] - '0', &value)) {
        return std::nullopt;
      }
    }
    if (position_ == begin) return std::nullopt;
    if (position_ < text_.size() && text_[position_] == 'L') ++position_;  // Python 2 wrote long integers so
    return value;
  }

  bool at_end() {
    skip_spaces();
    return position_ == text_.size();
  }

 private:
  void skip_spaces() {
    while (position_ < text_.size() && (text_[position_] == ' ' || text_[position_] == '\n')) ++position_;
  }

  std::string_view text_;
  size_t position_ = 0;
};

// "<u4", "|S7", "<c16": an order, a letter, a size.
bool is_plain_type(std::string_view descr) {
  const auto is_letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  return descr.size() >= 3 && descr.size() <= 8 && (descr[0] == '<' || descr[0] == '|') && is_letter(descr[1]) &&
         std::all_of(descr.begin() + 2, descr.end(), is_digit);
}

std::string parse_type(const std::string& descr, NpyHeader& header) {
  static const std::pair<const char*, DType> kTypes[] = {
      {"f2", DType::kF16}, {"f4", DType::kF32}, {"f8", DType::kF64}, {"i1", DType::kI8},  {"i2", DType::kI16},
      {"i4", DType::kI32}, {"i8", DType::kI64}, {"u1", DType::kU8},  {"b1", DType::kBool}};
  if (descr.find('O') != std::string::npos) return "it holds Python objects, which are never unpickled";
  for (const auto& [name, type] : kTypes) {
    if (descr.size() != 3 || descr.substr(1) != name) continue;
    const char order = descr[0];
    if (order == '<' || order == '|' || (order == '>' && size_of(type) == 1)) {
      header.dtype = type;
      return "";
    }
    if (order == '>') return str("its type '", descr, "' is big-endian; save it again as little-endian");
  }
  if (is_plain_type(descr)) {
    header.readable = false;
    return "";
  }
  return str("its type '", printable(descr), "' is not supported (f2, f4, f8, i1, i2, i4, i8, u1 and b1 are)");
}

std::string parse_shape(Reader& reader, std::vector<int64_t>& shape) {
  if (!reader.take('(')) return "its shape is not a tuple";
  while (!reader.take(')')) {
    const std::optional<int64_t> extent = reader.number();
    if (!extent || shape.size() == 32) return "its shape is not a tuple of at most 32 whole numbers in range";
    shape.push_back(*extent);
    if (!reader.take(',')) {
      if (!reader.take(')')) return "its shape is not a tuple";
      break;
    }
  }
  return "";
}

std::string parse_field(Reader& reader, const std::string& key, NpyHeader& header) {
  if (key == "shape") return parse_shape(reader, header.shape);
  if (key == "fortran_order") {
    header.fortran_order = reader.take_word("True");
    return header.fortran_order || reader.take_word("False") ? "" : "its fortran_order is neither True nor False";
  }
  if (key != "descr") return str("its header has the unknown key '", printable(key), "'");
  const std::optional<std::string> descr = reader.quoted();
  if (!descr) return "it is a structured array; plain arrays of numbers are supported";
  return parse_type(*descr, header);
}

std::string parse_dictionary(std::string_view text, NpyHeader& header) {
  Reader reader(text);
  std::set<std::string> seen;
  if (!reader.take('{')) return "its header is not a dictionary";
  while (!reader.take('}')) {
    const std::optional<std::string> key = reader.quoted();
    if (!key || !reader.take(':')) return "its header is not a dictionary";
    if (!seen.insert(*key).second) return str("its header has the key '", printable(*key), "' twice");
    if (std::string problem = parse_field(reader, *key, header); !problem.empty()) return problem;
    if (!reader.take(',')) {
      if (!reader.take('}')) return "its header is not a dictionary";
      break;
    }
  }
  if (!reader.at_end()) return "its header goes on after the dictionary";
  if (seen.size() != 3) return "its header lacks descr, fortran_order or shape";
  return "";
}

}  // namespace

std::string parse_npy_header(std::span<const std::byte> head, NpyHeader& header) {
  const std::string_view text(reinterpret_cast<const char*>(head.data()), head.size());
  if (!text.starts_with("\x93NUMPY") || text.size() < 10) return "it does not start as a .npy array does";
  const int version = text[6];
  if (version < 1 || version > 3) return str("its .npy version ", version, " is unknown");
  const size_t begin = version == 1 ? 10 : 12;
  if (text.size() < begin) return "its header is cut off";
  uint32_t length = 0;
  std::memcpy(&length, head.data() + 8, begin - 8);
  if (length > kMaxNpyHeader - begin) return str("its header claims ", length, " bytes");
  if (text.size() - begin < length) return "its header is cut off";
  header.data_begin = begin + length;
  return parse_dictionary(text.substr(begin, length), header);
}

}  // namespace snell::io
