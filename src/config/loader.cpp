#include "snell/config/loader.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <fstream>
#include <map>
#include <sstream>

#include "snell/config/resolve.h"
#include "snell/config/scalar.h"
#include "snell/core/error.h"

namespace snell::config {

using core::ConfigError;
using core::str;

namespace {

// Builds the tree from yaml-cpp's events: its own nodes keep the first of two equal keys, load self-referring anchors
// and forget the quotes.
class TreeBuilder : public YAML::EventHandler {
 public:
  explicit TreeBuilder(const std::string& source) : source_(std::make_shared<const std::string>(source)) {}

  std::optional<Node> root;

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override { finish(Node::null(at(mark)), anchor); }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    bool as_string = tag == "!" || tag == "tag:yaml.org,2002:str";
    if (!as_string) check_tag(mark, tag, {"int", "float", "bool", "null"});
    // A quoted ??? is a mandatory value too, as in OmegaConf.
    Node node =
        as_string && value != "???" ? Node::string(value, at(mark)) : typed_scalar(value, Dialect::kFile, at(mark));
    finish(std::move(node), anchor);
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    check_tag(mark, tag, {"seq"});
    open(Node::sequence(at(mark)), anchor);
  }

  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    check_tag(mark, tag, {"map"});
    open(Node::mapping(at(mark)), anchor);
  }

  void OnSequenceEnd() override { close(); }
  void OnMapEnd() override { close(); }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    auto found = anchors_.find(anchor);
    if (found == anchors_.end()) fail(at(mark), "an alias refers to the mapping or list that contains it");
    if (static_cast<int>(stack_.size()) + found->second.depth() > kMaxDepth) fail_depth(at(mark));
    spend(found->second.weight(), at(mark));
    finish(found->second, 0);
  }

 private:
  struct Open {
    Node node;
    YAML::anchor_t anchor = 0;
    std::optional<std::string> key;  // read, its value not yet
    std::optional<Node> merged;      // of `<<: *alias`
    std::map<std::string, int> lines;
  };

  Origin at(const YAML::Mark& mark) const { return {source_, mark.line + 1}; }

  [[noreturn]] void fail(const Origin& origin, const std::string& message) const {
    throw ConfigError(str(origin.text(), ": ", message));
  }

  [[noreturn]] void fail_depth(const Origin& origin) const {
    fail(origin, str("nested deeper than ", kMaxDepth, " levels"));
  }

  void check_tag(const YAML::Mark& mark, const std::string& tag, std::initializer_list<const char*> allowed) const {
    if (tag.empty() || tag == "?" || tag == "!") return;
    for (const char* name : allowed)
      if (tag == str("tag:yaml.org,2002:", name)) return;
    fail(at(mark), str("the tag '", tag, "' is not supported"));
  }

  void spend(size_t weight, const Origin& origin) {
    weight_ += weight;
    if (weight_ > kMaxWeight) fail(origin, "too large once its aliases are expanded");
  }

  void open(Node node, YAML::anchor_t anchor) {
    if (static_cast<int>(stack_.size()) >= kMaxDepth) fail_depth(node.origin());
    if (!stack_.empty() && stack_.back().node.is_mapping() && !stack_.back().key)
      fail(node.origin(), "a key must be a plain word, not a list or a mapping");
    spend(64, node.origin());
    stack_.push_back({std::move(node), anchor, {}, {}, {}});
  }

  void close() {
    Open done = std::move(stack_.back());
    stack_.pop_back();
    if (done.merged) {
      for (const auto& entry : done.node.entries()) done.merged->set(entry.key, entry.value);
      done.merged->set_origin(done.node.origin());
      done.node = std::move(*done.merged);
    }
    attach(std::move(done.node), done.anchor);
  }

  // A scalar or an alias is complete.
  void finish(Node node, YAML::anchor_t anchor) {
    if (!stack_.empty() && stack_.back().node.is_mapping() && !stack_.back().key)
      begin_key(node);
    else
      attach(std::move(node), anchor);
  }

  void begin_key(const Node& node) {
    Open& top = stack_.back();
    if (!node.is_scalar() || node.kind() == Kind::kNull)
      fail(node.origin(), "a key must be a plain word, not null, a list or a mapping");
    const std::string& key = node.text();
    if (key.empty()) fail(node.origin(), "an empty key");
    spend(64 + key.size(), node.origin());
    auto [first, is_new] = top.lines.emplace(key, node.origin().line);
    if (!is_new) fail(node.origin(), str("duplicate key '", key, "': it is already in line ", first->second));
    top.key = key;
  }

  void attach(Node node, YAML::anchor_t anchor) {
    spend(64 + node.text().size(), node.origin());
    if (anchor != 0) {
      spend(node.weight(), node.origin());
      anchors_[anchor] = node;
    }
    if (stack_.empty()) {
      root = std::move(node);
      return;
    }
    Open& top = stack_.back();
    if (top.node.items().size() + top.node.entries().size() >= kMaxEntries)
      fail(node.origin(), str("a list or a mapping has at most ", kMaxEntries, " entries"));
    if (top.node.is_sequence()) {
      top.node.append(std::move(node));
    } else if (*top.key == "<<") {
      merge_into(top, node);
      top.key.reset();
    } else {
      top.node.set(std::move(*top.key), std::move(node));
      top.key.reset();
    }
  }

  // YAML's merge key: the mapping's own keys win, then the first of several.
  void merge_into(Open& top, const Node& node) const {
    if (!top.merged) top.merged = Node::mapping(node.origin());
    std::vector<Node> sources = node.is_sequence() ? node.items() : std::vector<Node>{node};
    for (const auto& source : sources) {
      if (!source.is_mapping()) fail(node.origin(), "'<<' takes a mapping or a list of mappings");
      for (const auto& entry : source.entries())
        if (!top.merged->find(entry.key)) top.merged->set(entry.key, entry.value);
    }
  }

  std::shared_ptr<const std::string> source_;
  std::vector<Open> stack_;
  std::map<YAML::anchor_t, Node> anchors_;
  size_t weight_ = 0;
};

}  // namespace

Node parse_yaml(std::string_view text, const std::string& source) {
  if (text.size() > kMaxFileBytes)
    throw ConfigError(str(source, ": ", text.size(), " bytes; a config file has at most ", kMaxFileBytes));
  std::istringstream stream{std::string(text)};
  TreeBuilder builder(source);
  try {
    YAML::Parser parser(stream);
    parser.HandleNextDocument(builder);
    TreeBuilder rest(source);
    if (builder.root && parser.HandleNextDocument(rest) && rest.root)
      throw ConfigError(str(rest.root->origin().text(), ": a second document; a config file holds one"));
  } catch (const YAML::Exception& error) {
    throw ConfigError(str(source, ":", error.mark.line + 1, ": not valid YAML: ", error.msg, " (column ",
                          error.mark.column + 1, ")"));
  }
  if (!builder.root || builder.root->kind() == Kind::kNull) return Node::mapping(Origin(source));
  return std::move(*builder.root);
}

std::string read_config_file(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  if (!in) throw ConfigError(str("cannot open the config file ", file.string()));
  std::string text(kMaxFileBytes + 1, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (in.bad()) throw ConfigError(str("cannot read the config file ", file.string()));
  text.resize(static_cast<size_t>(in.gcount()));
  return text;
}

Node load_yaml_file(const std::filesystem::path& file) {
  return resolve_interpolations(parse_yaml(read_config_file(file), file.string()));
}

}  // namespace snell::config
