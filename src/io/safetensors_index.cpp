// Shards of one model: model.safetensors.index.json with {"metadata": {…}, "weight_map": {tensor: file}}, as
// transformers and huggingface_hub write it.
#include <nlohmann/json.hpp>
#include <set>

#include "formats.h"
#include "snell/core/text.h"
#include "snell/io/files.h"

namespace snell::io {

using core::str;

namespace {

constexpr size_t kMaxIndexBytes = 32 << 20, kMaxNames = 1 << 17, kMaxShards = 4096;

// Events of the JSON parser, which keeps no tree. "weight_map" must be an object of texts; what stands beside it is
// passed over.
class IndexEvents : public nlohmann::json_sax<nlohmann::json> {
 public:
  std::map<std::string, std::string> shard_of;
  const std::string& problem() const { return problem_; }

  bool start_object(size_t) override {
    ++depth_;
    return !in_map() || depth_ == 2 || refuse("its weight_map holds an object");
  }
  bool end_object() override {
    --depth_;
    return true;
  }
  bool start_array(size_t) override {
    if (depth_ == 0) return refuse("it is a list, not an object");
    ++depth_;
    return !(in_map()) || refuse("its weight_map holds a list");
  }
  bool end_array() override {
    --depth_;
    return true;
  }
  bool key(std::string& name) override {
    if (depth_ == 1) {
      top_ = name;
      return name != "weight_map" || std::exchange(seen_, true) == false || refuse("it has two weight_maps");
    }
    if (in_map()) tensor_ = name;
    return true;
  }
  bool string(std::string& value) override {
    if (depth_ == 0) return refuse("it is a text, not an object");
    if (!in_map()) return true;
    if (depth_ != 2) return refuse("its weight_map is not an object");
    if (shard_of.size() == kMaxNames) return refuse(str("it names more than ", kMaxNames, " tensors"));
    return shard_of.emplace(tensor_, value).second || refuse(str("tensor '", printable(tensor_), "' appears twice"));
  }
  bool number_unsigned(uint64_t) override { return other(); }
  bool number_integer(int64_t) override { return other(); }
  bool number_float(double, const std::string&) override { return other(); }
  bool null() override { return other(); }
  bool boolean(bool) override { return other(); }
  bool binary(nlohmann::json::binary_t&) override { return other(); }
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception&) override {
    if (problem_.empty()) problem_ = str("it is not JSON at byte ", position);
    return false;
  }

 private:
  bool in_map() const { return depth_ > 0 && top_ == "weight_map"; }
  bool other() { return (depth_ > 0 && !in_map()) || refuse("its weight_map holds something else than file names"); }
  bool refuse(const std::string& what) {
    problem_ = what;
    return false;
  }

  int depth_ = 0;
  bool seen_ = false;
  std::string top_, tensor_, problem_;
};

class ShardedSource : public TensorSource {
 public:
  explicit ShardedSource(const FileBytes& file) : path_(file.path) {
    const std::map<std::string, std::string> shard_of = parse(file);
    const size_t slash = path_.rfind('/');
    const std::string folder = slash == std::string::npos ? "" : path_.substr(0, slash + 1);
    std::set<std::string> shards;
    for (const auto& [tensor, shard] : shard_of) shards.insert(shard);
    if (shards.size() > kMaxShards) refuse(str("it names more than ", kMaxShards, " files"));
    for (const std::string& shard : shards) add_shard(folder, shard, shard_of);
    for (const auto& [tensor, shard] : shard_of) {
      if (!source_of_.contains(tensor)) {
        refuse(str("tensor '", printable(tensor), "' is not in '", printable(shard), "', where its weight_map says"));
      }
    }
  }

  const std::string& path() const override { return path_; }
  const char* format() const override { return "safetensors (sharded)"; }
  std::vector<std::string> names() const override { return names_; }
  const std::map<std::string, std::string>& metadata() const override { return metadata_; }
  HostTensor describe(const std::string& name) const override { return find(name).describe(name); }
  HostTensor read(const std::string& name) const override { return find(name).read(name); }
  std::optional<HostTensor> in_place(const std::string& name) const override { return find(name).in_place(name); }
  void check_unchanged(const std::string& name) const override { find(name).check_unchanged(name); }

 private:
  [[noreturn]] void refuse(const std::string& what) const {
    raise_weights_error(
        str("'", path_, "' is not a sound index of safetensors files: ", what, "; fetch or write the model again"));
  }

  const TensorSource& find(const std::string& name) const {
    const auto found = source_of_.find(name);
    if (found == source_of_.end()) raise_unknown_tensor(*this, name);
    return *shards_[found->second];
  }

  std::map<std::string, std::string> parse(const FileBytes& file) const {
    if (file.bytes.size() > kMaxIndexBytes) refuse(str("it has more than ", kMaxIndexBytes, " bytes"));
    const std::string_view text(reinterpret_cast<const char*>(file.bytes.data()), file.bytes.size());
    // The JSON parser would take it for the end and leave out what follows.
    if (text.find('\0') != std::string_view::npos) refuse("it holds a zero byte");
    IndexEvents events;
    if (!nlohmann::json::sax_parse(text, &events)) refuse(events.problem());
    if (events.shard_of.empty()) refuse("it has no weight_map");
    return std::move(events.shard_of);
  }

  // A shard lies beside its index: a name with a folder in it could lead anywhere.
  void add_shard(const std::string& folder, const std::string& shard,
                 const std::map<std::string, std::string>& shard_of) {
    if (shard.empty() || shard == "." || shard == ".." ||
        shard.find_first_of(std::string_view("/\\\0", 3)) != std::string::npos) {
      refuse(str("'", printable(shard), "' is not the plain name of a file beside it"));
    }
    const FileBytes file = FileBytes::map(folder + shard);
    shards_.push_back(open_safetensors(file));
    for (const std::string& name : shards_.back()->names()) {
      const auto listed = shard_of.find(name);
      if (listed == shard_of.end() || listed->second != shard) {
        refuse(str("'", printable(shard), "' holds the tensor '", printable(name), "', which its weight_map ",
                   listed == shard_of.end() ? "does not name" : "places in another file"));
      }
      source_of_.emplace(name, shards_.size() - 1);
      names_.push_back(name);
    }
  }

  std::string path_;
  std::vector<std::unique_ptr<TensorSource>> shards_;
  std::vector<std::string> names_;
  std::map<std::string, size_t> source_of_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace

std::unique_ptr<TensorSource> open_safetensors_index(const FileBytes& file) {
  return std::make_unique<ShardedSource>(file);
}

}  // namespace snell::io
