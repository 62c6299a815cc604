#include "weight_names.h"

#include <algorithm>
#include <cmath>
#include <sstream>
#include <utility>

#include "snell/core/error.h"
#include "snell/nn/load_weights.h"

namespace snell::nn {
namespace {

// A tensor of the file, and what it is called once wrappers are taken off and the author's names changed to timm's.
struct Entry {
  std::string file_name, name;
};

bool contains(const std::string& text, const char* part) {
  return text.find(part) != std::string::npos;
}

void replace_start(std::string& text, const std::string& from, const std::string& to) {
  if (text.starts_with(from)) text.replace(0, from.size(), to);
}

// DataParallel's, torch.compile's, and this program's own.
std::string without_wrappers(std::string name) {
  for (bool found = true; found;) {
    found = false;
    for (const std::string prefix : {"module.", "_orig_mod.", "param/"}) {
      if (!name.starts_with(prefix)) continue;
      name.erase(0, prefix.size());
      found = true;
    }
  }
  return name;
}

// Why no backbone needs a tensor; empty: it may.
std::string reason_to_ignore(const std::string& name) {
  if (name.ends_with(".relative_position_index") || name.ends_with(".attn_mask")) return "computed from the shapes";
  if (name.ends_with(".shared_coeff_fc")) return "the kernel's fixed coefficients";
  if (name.starts_with("thresholds/")) return "sparsity comes from the config";
  if (name.starts_with("decoder_") || name == "mask_token") return "the pre-training's decoder";
  if (name.starts_with("momentum_encoder.") || name.starts_with("predictor.")) return "the pre-training's other half";
  return "";
}

// The published code keeps c = (0.1, -0.1) as a tensor; a file with others holds another function than ours.
void check_coefficients(const io::TensorSource& source, const std::string& name) {
  const at::Tensor found = to_tensor(source.read(name)).flatten().to(at::kDouble);
  for (int64_t h = 0; h < found.numel(); ++h) {
    if (std::abs(found[h].item<double>() - (h % 2 == 0 ? 0.1 : -0.1)) < 1e-6) continue;
    throw core::WeightsError(core::str(source.path(), ": ", name,
                                       " must hold 0.1 and -0.1 in turn, the kernel's fixed coefficients; number ", h,
                                       " is ", found[h].item<double>()));
  }
}

// The names' rules work on what stands between the dots: a regular expression would recurse over a hostile name.
using Parts = std::vector<std::string>;

Parts split(const std::string& name) {
  Parts parts;
  std::istringstream in(name);
  for (std::string part; std::getline(in, part, '.');) parts.push_back(part);
  return parts;
}

bool begins(const Parts& parts, std::initializer_list<const char*> with) {
  return parts.size() > with.size() && std::equal(with.begin(), with.end(), parts.begin());
}

// github.com/facebookresearch/ConvNeXt, models/convnext.py
void rename_facebook_convnext(Parts& parts) {
  static const std::map<std::string, std::string> kLayers{
      {"dwconv", "conv_dw"}, {"pwconv1", "mlp.fc1"}, {"pwconv2", "mlp.fc2"}};
  if (begins(parts, {"downsample_layers", "0"})) {
    parts.erase(parts.begin());
    parts[0] = "stem";
  } else if (begins(parts, {"downsample_layers"})) {
    parts[0] = "stages";
    parts.insert(parts.begin() + 2, std::string("downsample"));
  } else if (begins(parts, {"stages"}) && parts.size() > 3) {
    parts.insert(parts.begin() + 2, std::string("blocks"));
  } else if (begins(parts, {"head"})) {
    parts.insert(parts.begin() + 1, std::string("fc"));
  } else if (begins(parts, {"norm"})) {
    parts.insert(parts.begin(), std::string("head"));
  }
  for (auto& part : parts) {
    if (const auto found = kLayers.find(part); found != kLayers.end()) part = found->second;
  }
}

// github.com/ssfgunner/SNELL, model/convnext_timm.py: an older timm's names.
void rename_published_convnext(Parts& parts) {
  const bool stem = begins(parts, {"stem"}), downsample = parts.size() > 3 && parts[2] == "downsample";
  if (!stem && !downsample) return;
  auto& part = parts[stem ? 1 : 3];
  const auto number = [&](const char* first, const char* second) {
    if (part == first) {
      part.assign(1, '0');
    } else if (part == second) {
      part.assign(1, '1');
    }
  };
  stem ? number("proj", "norm") : number("norm", "proj");
}

// github.com/microsoft/Swin-Transformer, models/swin_transformer.py: a stage ends with its downsampling; in timm since
// 0.9 the next one begins with it.
void rename_microsoft_swin(Parts& parts) {
  if (parts.size() > 3 && parts[0] == "layers" && parts[2] == "downsample" && parts[1].size() == 1) {
    parts[1] = std::to_string(parts[1][0] - '0' + 1);
  } else if (begins(parts, {"head"}) && parts[1] != "fc") {
    parts.insert(parts.begin() + 1, std::string("fc"));
  }
}

// Returns whether the names are those of the published code's ConvNeXt.
bool rename(std::vector<Entry>& entries) {
  const auto has = [&](const char* prefix) {
    return std::ranges::any_of(entries, [&](const Entry& entry) { return entry.name.starts_with(prefix); });
  };
  void (*change)(Parts&) = nullptr;
  if (has("downsample_layers.0.0.")) {
    change = rename_facebook_convnext;
  } else if (has("stem.proj.")) {
    change = rename_published_convnext;
  } else if (has("layers.0.blocks.0.") && (has("layers.0.downsample.") || has("head.weight"))) {
    change = rename_microsoft_swin;
  }
  if (change == nullptr) return false;
  for (auto& entry : entries) {
    Parts parts = split(entry.name);
    change(parts);
    entry.name = core::join(parts, ".");
  }
  return change == rename_published_convnext;
}

// MoCo v3's pre-training checkpoints hold two encoders; the one that was trained is called base_encoder.
void keep_base_encoder(std::vector<Entry>& entries) {
  for (auto& entry : entries) replace_start(entry.name, "base_encoder.", "");
}

// One reader a tensor; separate q, k and v become one qkv.
void add_readers(const io::TensorSource& source, const std::vector<Entry>& entries, ReaderMap& out) {
  std::map<std::string, std::map<std::string, std::string>> fused;  // qkv's name -> q, k, v -> name in the file
  for (const auto& [file_name, name] : entries) {
    Parts parts = split(name);
    const size_t n = parts.size();
    if (n >= 3 && parts[n - 3] == "attn" && (parts[n - 2] == "q" || parts[n - 2] == "k" || parts[n - 2] == "v")) {
      const std::string letter = std::exchange(parts[n - 2], "qkv");
      fused[core::join(parts, ".")][letter] = file_name;
    } else if (const auto read = [&source, file_name] { return to_tensor(source.read(file_name)); };
               !out.emplace(name, NamedReader{{file_name}, read, true}).second) {
      throw core::WeightsError(core::str(source.path(), " holds ", name, " twice, under ", file_name, " and ",
                                         out.at(name).file_names.front()));
    }
  }
  for (const auto& [name, parts] : fused) {
    std::vector<std::string> file_names;
    for (const auto& [letter, file_name] : parts) file_names.push_back(file_name);
    if (parts.size() != 3) {
      throw core::WeightsError(core::str(source.path(), " holds only ", core::join(file_names), " of ", name));
    }
    const std::vector<std::string> in_order{parts.at("q"), parts.at("k"), parts.at("v")};
    out[name] = {in_order, [&source, in_order] {
                   std::vector<at::Tensor> tensors;
                   for (const auto& file_name : in_order) tensors.push_back(to_tensor(source.read(file_name)));
                   return at::cat(tensors, 0);
                 }};
  }
}

}  // namespace

WeightNames timm_names(const io::TensorSource& source) {
  WeightNames out;
  const auto names = source.names();
  for (const std::string prefix : {"", "opt/target/", "params/", "params/img/"}) {
    if (std::ranges::find(names, prefix + "embedding/kernel") == names.end()) continue;
    out.readers = google_names(source, prefix);
    return out;
  }
  std::vector<Entry> entries;
  for (const auto& file_name : names) {
    const std::string name = without_wrappers(file_name);
    if (const std::string why = reason_to_ignore(name); !why.empty()) {
      if (contains(name, ".shared_coeff_fc")) check_coefficients(source, file_name);
      out.ignored.push_back({file_name, why});
    } else {
      entries.push_back({file_name, name});
    }
  }
  keep_base_encoder(entries);
  out.old_convnext = rename(entries);
  add_readers(source, entries, out.readers);
  return out;
}

}  // namespace snell::nn
