#include "snell/config/resolve.h"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <set>

#include "interpolation.h"
#include "snell/config/scalar.h"
#include "snell/core/error.h"

namespace snell::config {

using core::ConfigError;
using core::str;

namespace {

using Path = std::vector<std::string>;

std::string to_text(const Path& path) {
  std::string out;
  for (const auto& part : path) out = join_path(out, part);
  return out;
}

class Resolver {
 public:
  explicit Resolver(const Node& root) : root_(root) {}

  Node resolve(const Node& node, const Path& path) {
    if (path.size() >= static_cast<size_t>(kMaxDepth))
      throw ConfigError(str(to_text(path), " (", node.origin().text(), "): nested deeper than ", kMaxDepth, " levels"));
    if (node.is_scalar()) return resolve_scalar(node, path);
    Enter guard(*this, node, path);
    Node out = node.is_mapping() ? Node::mapping(node.origin()) : Node::sequence(node.origin());
    spend(64, node);
    for (const auto& entry : node.entries()) {
      spend(entry.key.size(), node);
      out.set(entry.key, resolve(entry.value, below(path, entry.key)));
    }
    for (size_t i = 0; i < node.items().size(); ++i)
      out.append(resolve(node.items()[i], below(path, std::to_string(i))));
    return out;
  }

 private:
  // Marks a node as being resolved: meeting it again is a cycle.
  class Enter {
   public:
    Enter(Resolver& resolver, const Node& node, const Path& path) : resolver_(resolver), node_(&node) {
      auto& active = resolver.active_;
      auto again = std::find_if(active.begin(), active.end(), [&](const auto& item) { return item.first == &node; });
      if (again != active.end()) {
        std::string chain;
        for (; again != active.end(); ++again) chain += str(to_text(again->second), " -> ");
        throw ConfigError(str(to_text(path), " (", node.origin().text(),
                              "): interpolations refer to each other: ", chain, to_text(path)));
      }
      if (active.size() > 4 * static_cast<size_t>(kMaxDepth))
        throw ConfigError(str(to_text(path), " (", node.origin().text(), "): too long a chain of interpolations"));
      active.emplace_back(node_, path);
    }
    ~Enter() { resolver_.active_.pop_back(); }
    Enter(const Enter&) = delete;
    Enter& operator=(const Enter&) = delete;

   private:
    Resolver& resolver_;
    const Node* node_;
  };

  static Path below(Path path, std::string key) {
    path.push_back(std::move(key));
    return path;
  }

  void spend(size_t weight, const Node& node) {
    weight_ += weight;
    if (weight_ > kMaxWeight)
      throw ConfigError(str(node.origin().text(), ": the config is too large once its interpolations are expanded"));
  }

  Node resolve_scalar(const Node& node, const Path& path) {
    spend(64 + node.text().size(), node);
    if (!node.is_string() || !has_interpolation(node.text())) return node;
    Enter guard(*this, node, path);
    Node value = [&] {
      try {
        return evaluate(node, node.text(), path);
      } catch (const Fault& fault) {
        throw ConfigError(str(to_text(path), " = ", node.describe(), " (", node.origin().text(), "): ", fault.message));
      }
    }();
    if (value.kind() != Kind::kMissing) value.set_origin(node.origin());
    return value;
  }

  // What is wrong with one interpolation; becomes a ConfigError where the key is known.
  struct Fault {
    std::string message;
  };

  std::vector<TextPart> parts_of(const std::string& text) {
    try {
      return split_interpolations(text);
    } catch (const ConfigError& error) {
      throw Fault{error.what()};
    }
  }

  Node evaluate(const Node& node, const std::string& text, const Path& path) {
    std::vector<TextPart> parts = parts_of(text);
    if (parts.size() == 1 && parts[0].is_interpolation) return interpolate(node, parts[0].text, path);
    std::string out;
    for (const auto& part : parts) {
      if (!part.is_interpolation) {
        out += part.text;
        continue;
      }
      Node value = interpolate(node, part.text, path);
      if (value.kind() == Kind::kMissing) return value;
      if (!value.is_scalar()) throw Fault{str("${", part.text, "} is ", value.describe(), ", not text")};
      out += value.is_string() ? value.text() : value.canonical();
      spend(out.size(), node);
    }
    return Node::string(std::move(out), node.origin());
  }

  // `inner` is what stands between ${ and }.
  Node interpolate(const Node& node, const std::string& inner, const Path& path) {
    size_t colon = inner.find(':');
    size_t nested = inner.find("${");
    if (colon != std::string::npos && (nested == std::string::npos || colon < nested))
      return call(node, inner.substr(0, colon), inner.substr(colon + 1), path);
    std::string key = inner;
    if (nested != std::string::npos) {
      Node name = evaluate(node, inner, path);
      if (!name.is_string()) return name;
      key = name.text();
    }
    return look_up(key, path);
  }

  Node look_up(const std::string& key, const Path& from) {
    size_t dots = std::min(key.find_first_not_of('.'), key.size());
    if (dots > from.size()) throw Fault{str("${", key, "} goes above the top of the config")};
    Path target;
    if (dots > 0) target.assign(from.begin(), from.end() - static_cast<std::ptrdiff_t>(dots));
    try {
      for (auto& part : split_path(std::string_view(key).substr(dots))) target.push_back(std::move(part));
    } catch (const ConfigError& error) {
      throw Fault{error.what()};
    }
    if (target.size() == 0) throw Fault{"${} names no key"};

    const Node* at = &root_;
    Path place;
    for (const auto& part : target) {
      if (at->is_string() && has_interpolation(at->text())) at = &keep(resolve(*at, place));
      if (at->kind() == Kind::kMissing) return *at;
      const Node* next = at->child(part);
      if (!next) {
        throw Fault{str("there is no '", to_text(target), "'; ", place.empty() ? "the top level" : to_text(place),
                        " has: ", core::join(at->keys()), did_you_mean(part, at->keys()))};
      }
      at = next;
      place.push_back(part);
    }
    return resolve(*at, place);
  }

  // An intermediate value that later steps of a look-up point into.
  const Node& keep(Node node) {
    kept_.push_back(std::make_unique<Node>(std::move(node)));
    return *kept_.back();
  }

  Node call(const Node& node, const std::string& name, const std::string& arguments, const Path& path) {
    std::vector<Node> values;
    for (const auto& argument : split_arguments(arguments)) values.push_back(argument_of(node, argument, path));
    for (const auto& value : values)
      if (!value.is_scalar() || value.kind() == Kind::kMissing)
        throw Fault{str("an argument of ${", name, ":...} is ", value.describe())};
    if (name == "oc.env") return environment(node, values);
    if (name == "oc.decode") {
      if (values.size() != 1) throw Fault{"oc.decode takes one argument: ${oc.decode:TEXT}"};
      return typed_scalar(values[0].text(), Dialect::kCommandLine, node.origin());
    }
    std::vector<std::string> known = {"oc.env", "oc.decode"};
    throw Fault{str("unknown resolver '", name, "'; known: ", core::join(known), did_you_mean(name, known))};
  }

  Node argument_of(const Node& node, const std::string& text, const Path& path) {
    bool is_quoted = text.size() >= 2 && (text[0] == '\'' || text[0] == '"') && text.back() == text[0];
    std::string inner = is_quoted ? text.substr(1, text.size() - 2) : text;
    if (has_interpolation(inner)) return evaluate(node, inner, path);
    return is_quoted ? Node::string(inner, node.origin()) : typed_scalar(inner, Dialect::kCommandLine, node.origin());
  }

  static Node environment(const Node& node, const std::vector<Node>& arguments) {
    if (arguments.empty() || arguments.size() > 2)
      throw Fault{"oc.env takes a name and perhaps a default: ${oc.env:NAME,default}"};
    const std::string& name = arguments[0].text();
    if (const char* value = std::getenv(name.c_str())) return Node::string(value, node.origin());
    if (arguments.size() == 1)
      throw Fault{
          str("the environment variable ", name, " is not set, and there is no default: ${oc.env:", name, ",default}")};
    return arguments[1].kind() == Kind::kNull ? arguments[1] : Node::string(arguments[1].text(), node.origin());
  }

  const Node& root_;
  std::vector<std::pair<const Node*, Path>> active_;
  std::vector<std::unique_ptr<Node>> kept_;
  size_t weight_ = 0;
};

}  // namespace

Node resolve_interpolations(const Node& root) {
  return Resolver(root).resolve(root, {});
}

}  // namespace snell::config
