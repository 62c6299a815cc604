#include "snell/config/override.h"

#include <string_view>

#include "snell/config/scalar.h"
#include "snell/core/error.h"

namespace snell::config {

using core::ConfigError;
using core::str;

namespace {

bool is_key_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         std::string_view("_-$./[]").find(c) != std::string_view::npos;
}

class Parser {
 public:
  explicit Parser(const std::string& input) : text_(input) { out_.input = input; }

  Override parse() {
    constexpr size_t kMaxLength = size_t{64} << 10;
    if (text_.size() > kMaxLength) throw ConfigError("an override on the command line is longer than 64 KiB");
    if (take('~')) {
      out_.kind = Override::Kind::kDelete;
    } else if (take('+')) {
      out_.kind = take('+') ? Override::Kind::kForceAdd : Override::Kind::kAdd;
    }
    out_.key = key();
    if (out_.key.empty()) fail("expected a key, as in optim.lr=0.001");
    if (take('@')) out_.package = key();
    if (at_ == text_.size() && out_.kind == Override::Kind::kDelete) return std::move(out_);
    if (!take('=')) fail(at_ == text_.size() ? "expected '=' and a value" : "expected '='");
    origin_ = out_.origin();
    skip_spaces();
    out_.value = at_ == text_.size() ? Node::string("", origin_) : element("", 1);
    skip_spaces();
    if (at_ < text_.size())
      fail(text_[at_] == ',' ? "a list is written in brackets, [a,b]; a comma in text needs quotes"
                             : "unexpected text after the value; quote it if it belongs to the value");
    return std::move(out_);
  }

 private:
  bool done() const { return at_ >= text_.size(); }
  bool take(char c) {
    if (done() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  void skip_spaces() {
    while (!done() && (text_[at_] == ' ' || text_[at_] == '\t')) ++at_;
  }
  [[noreturn]] void fail(const std::string& message) const {
    throw ConfigError(str("command line: '", out_.input.substr(0, 200), "': ", message, " (character ", at_ + 1, ")"));
  }

  std::string key() {
    size_t start = at_;
    while (!done() && is_key_char(text_[at_])) ++at_;
    return text_.substr(start, at_ - start);
  }

  // `enclosing`: the characters that end an unquoted value here, besides the comma.
  Node element(std::string_view enclosing, int depth) {
    if (depth > kMaxDepth) fail(str("nested deeper than ", kMaxDepth, " levels"));
    skip_spaces();
    if (take('[')) return list(depth);
    if (take('{')) return dictionary(depth);
    if (!done() && (text_[at_] == '\'' || text_[at_] == '"')) return Node::string(quoted(), origin_);
    return unquoted(enclosing);
  }

  Node list(int depth) {
    Node out = Node::sequence(origin_);
    skip_spaces();
    if (take(']')) return out;
    do {
      out.append(element("]", depth + 1));
      skip_spaces();
    } while (take(','));
    if (!take(']')) fail("expected ',' or ']'");
    return out;
  }

  Node dictionary(int depth) {
    Node out = Node::mapping(origin_);
    skip_spaces();
    if (take('}')) return out;
    do {
      skip_spaces();
      size_t start = at_;
      while (!done() && std::string_view(":,}]").find(text_[at_]) == std::string_view::npos) ++at_;
      std::string name = text_.substr(start, at_ - start);
      while (!name.empty() && name.back() == ' ') name.pop_back();
      if (name.empty() || !take(':')) fail("expected 'key: value'");
      if (out.find(name)) fail(str("duplicate key '", name, "'"));
      out.set(name, element("}", depth + 1));
      skip_spaces();
    } while (take(','));
    if (!take('}')) fail("expected ',' or '}'");
    return out;
  }

  // Inside quotes only the quote itself, and backslashes in front of it, are escaped.
  std::string quoted() {
    char quote = text_[at_++];
    std::string out;
    while (true) {
      if (done()) fail("a quote is not closed");
      size_t slashes = 0;
      while (!done() && text_[at_] == '\\') ++slashes, ++at_;
      bool at_quote = !done() && text_[at_] == quote;
      out.append(at_quote ? slashes / 2 : slashes, '\\');
      if (done()) continue;
      if (at_quote && slashes % 2 == 0) break;
      out += text_[at_++];
    }
    ++at_;
    return out;
  }

  Node unquoted(std::string_view enclosing) {
    constexpr std::string_view kEscapable = "\\()[]{}:=, \t";
    std::string out;
    size_t significant = 0;  // without unescaped trailing spaces
    bool escaped = false;
    while (!done()) {
      char c = text_[at_];
      if (c == ',' || (enclosing.find(c) != std::string_view::npos)) break;
      if (text_.compare(at_, 2, "${") == 0) {
        out += interpolation();
        significant = out.size();
        continue;
      }
      if (c == '\\' && at_ + 1 < text_.size() && kEscapable.find(text_[at_ + 1]) != std::string_view::npos) {
        out += text_[at_ + 1];
        at_ += 2;
        significant = out.size();
        escaped = true;
        continue;
      }
      if (std::string_view("()[]{}'\"=").find(c) != std::string_view::npos)
        fail(str("'", c, "' needs quotes around the value, or a backslash in front of it"));
      out += c;
      ++at_;
      if (c != ' ' && c != '\t') significant = out.size();
    }
    out.resize(significant);
    if (out.empty()) fail("expected a value; write '' for empty text");
    return escaped ? Node::string(out, origin_) : typed_scalar(out, Dialect::kCommandLine, origin_);
  }

  std::string interpolation() {
    size_t start = at_;
    int depth = 0;
    do {
      if (done()) fail("a '${' is not closed");
      if (text_.compare(at_, 2, "${") == 0)
        ++depth, ++at_;
      else if (text_[at_] == '}')
        --depth;
      ++at_;
    } while (depth > 0);
    return text_.substr(start, at_ - start);
  }

  std::string text_;
  size_t at_ = 0;
  Override out_;
  Origin origin_;
};

}  // namespace

Override parse_override(const std::string& input) {
  return Parser(input).parse();
}

}  // namespace snell::config
