#include "weight_names.h"

#include "snell/core/error.h"
#include "snell/nn/load_weights.h"

namespace snell::nn {
namespace {

at::Tensor read(const io::TensorSource& source, const std::string& name) {
  return to_tensor(source.read(name));
}

NamedReader plain(const io::TensorSource& source, const std::string& name) {
  return {{name}, [&source, name] { return read(source, name); }};
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  if (const auto at = text.find(from); at != std::string::npos) text.replace(at, from.size(), to);
  return text;
}

// Dense kernels are [in, out]; attention's are [in, heads, head_dim] (query, key, value) and [heads, head_dim, out]
// (out).
at::Tensor dense(const at::Tensor& kernel) {
  return kernel.t();
}
at::Tensor attention_in(const at::Tensor& kernel) {
  return kernel.dim() == 3 ? kernel.flatten(1).t() : kernel;
}
at::Tensor attention_out(const at::Tensor& kernel) {
  return kernel.flatten(0, 1).t();
}

void add_google_block(ReaderMap& out, const io::TensorSource& source, const std::string& prefix, int index) {
  const std::string from = core::str(prefix, "Transformer/encoderblock_", index, "/");
  const std::string to = core::str("blocks.", index, ".");
  const auto one = [&](const std::string& name, const std::string& file_name,
                       at::Tensor (*convert)(const at::Tensor&)) {
    const std::string full = from + file_name;
    out[to + name] = {{full}, [&source, full, convert] {
                        at::Tensor t = read(source, full);
                        return convert == nullptr ? t : convert(t);
                      }};
  };
  one("norm1.weight", "LayerNorm_0/scale", nullptr);
  one("norm1.bias", "LayerNorm_0/bias", nullptr);
  one("norm2.weight", "LayerNorm_2/scale", nullptr);
  one("norm2.bias", "LayerNorm_2/bias", nullptr);
  const std::string attention = "MultiHeadDotProductAttention_1/";
  one("attn.proj.weight", attention + "out/kernel", attention_out);
  one("attn.proj.bias", attention + "out/bias", nullptr);
  for (const std::string kind : {"kernel", "bias"}) {
    std::vector<std::string> parts;
    for (const std::string name : {"query", "key", "value"}) parts.push_back(from + attention + name + "/" + kind);
    out[to + "attn.qkv." + (kind == "kernel" ? "weight" : "bias")] = {
        parts, [&source, parts, kind] {
          std::vector<at::Tensor> tensors;
          for (const auto& part : parts) {
            const at::Tensor t = read(source, part);
            tensors.push_back(kind == "kernel" ? attention_in(t) : t.flatten());
          }
          return at::cat(tensors, 0);
        }};
  }
  for (const int layer : {0, 1}) {
    const std::string mlp = core::str("MlpBlock_3/Dense_", layer, "/");
    one(core::str("mlp.fc", layer + 1, ".weight"), mlp + "kernel", dense);
    one(core::str("mlp.fc", layer + 1, ".bias"), mlp + "bias", nullptr);
  }
}

ReaderMap google_names(const io::TensorSource& source, const std::vector<std::string>& names,
                       const std::string& prefix) {
  ReaderMap out;
  const auto one = [&](const std::string& name, const std::string& file_name,
                       at::Tensor (*convert)(const at::Tensor&)) {
    const std::string full = prefix + file_name;
    out[name] = {{full}, [&source, full, convert] { return convert(read(source, full)); }};
  };
  const auto same = [](const at::Tensor& t) { return t; };
  one("cls_token", "cls", same);
  one("pos_embed", "Transformer/posembed_input/pos_embedding", same);
  one("patch_embed.proj.weight", "embedding/kernel", [](const at::Tensor& t) { return t.permute({3, 2, 0, 1}); });
  one("patch_embed.proj.bias", "embedding/bias", same);
  one("norm.weight", "Transformer/encoder_norm/scale", same);
  one("norm.bias", "Transformer/encoder_norm/bias", same);
  one("head.weight", "head/kernel", dense);
  one("head.bias", "head/bias", same);
  for (int index = 0;; ++index) {
    const std::string first = core::str(prefix, "Transformer/encoderblock_", index, "/LayerNorm_0/scale");
    if (std::find(names.begin(), names.end(), first) == names.end()) break;
    add_google_block(out, source, prefix, index);
  }
  std::erase_if(out, [&](const auto& entry) {  // what the file does not hold is missing, not unreadable
    for (const auto& name : entry.second.file_names) {
      if (std::find(names.begin(), names.end(), name) == names.end()) return true;
    }
    return false;
  });
  return out;
}

// Files that this program wrote (model.safetensors) put this before the published names.
const std::string kOwnPrefix = "param/";

ReaderMap timm_like_names(const io::TensorSource& source, const std::vector<std::string>& names) {
  ReaderMap out;
  for (const auto& name : names) {
    const std::string timm = name.starts_with(kOwnPrefix) ? name.substr(kOwnPrefix.size()) : name;
    const bool separate = timm.find(".attn.q.") != std::string::npos || timm.find(".attn.k.") != std::string::npos ||
                          timm.find(".attn.v.") != std::string::npos;
    if (!separate) {
      out[timm] = plain(source, name);
    } else if (timm.find(".attn.q.") != std::string::npos) {
      const std::vector<std::string> parts{name, replaced(name, ".attn.q.", ".attn.k."),
                                           replaced(name, ".attn.q.", ".attn.v.")};
      out[replaced(timm, ".attn.q.", ".attn.qkv.")] = {
          parts, [&source, parts] {
            return at::cat({read(source, parts[0]), read(source, parts[1]), read(source, parts[2])}, 0);
          }};
    }
  }
  return out;
}

}  // namespace

ReaderMap timm_names(const io::TensorSource& source) {
  const auto names = source.names();
  const std::string marker = "embedding/kernel";
  for (const std::string prefix : {"", "opt/target/", "params/"}) {
    if (std::find(names.begin(), names.end(), prefix + marker) != names.end())
      return google_names(source, names, prefix);
  }
  return timm_like_names(source, names);
}

}  // namespace snell::nn
