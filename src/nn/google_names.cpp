// Google's ViT files (github.com/google-research/vision_transformer, JAX parameters in an .npz).
#include <algorithm>

#include "snell/core/error.h"
#include "snell/nn/load_weights.h"
#include "weight_names.h"

namespace snell::nn {
namespace {

at::Tensor read(const io::TensorSource& source, const std::string& name) {
  return to_tensor(source.read(name));
}

// Dense kernels are [in, out]; attention's are [in, heads, head_dim] (query, key, value) and [heads, head_dim, out]
// (out).
at::Tensor dense(const at::Tensor& kernel) {
  return kernel.t();
}
at::Tensor attention_in(const at::Tensor& kernel) {
  return kernel.flatten(1).t();
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

}  // namespace

ReaderMap google_names(const io::TensorSource& source, const std::string& prefix) {
  const auto names = source.names();
  const auto in_file = [&](const std::string& name) {
    return std::find(names.begin(), names.end(), name) != names.end();
  };
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
  one("pre_logits.fc.weight", "pre_logits/kernel", dense);
  one("pre_logits.fc.bias", "pre_logits/bias", same);
  one("head.weight", "head/kernel", dense);
  one("head.bias", "head/bias", same);
  for (int index = 0;; ++index) {
    if (!in_file(core::str(prefix, "Transformer/encoderblock_", index, "/LayerNorm_0/scale"))) break;
    add_google_block(out, source, prefix, index);
  }
  // What the file does not hold is missing, not unreadable.
  std::erase_if(out, [&](const auto& entry) { return !std::ranges::all_of(entry.second.file_names, in_file); });
  return out;
}

}  // namespace snell::nn
