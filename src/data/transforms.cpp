#include "snell/data/transforms.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <utility>

#include "snell/core/error.h"
#include "snell/core/registry.h"

namespace snell::data {
namespace {

class FgvcTrain : public Transform {
 public:
  explicit FgvcTrain(const TransformConfig& c) : Transform(c), flip_(c.flip), color_jitter_(c.color_jitter) {
    if (c.crop_scale.size() != 2 || !(0 < c.crop_scale[0] && c.crop_scale[0] <= c.crop_scale[1])) {
      throw core::ConfigError("data.transform.crop_scale must be two numbers, 0 < least <= most, such as [0.08, 1.0]");
    }
    range_.min_scale = c.crop_scale[0];
    range_.max_scale = c.crop_scale[1];
  }
  Image to_size(Image image, core::RandomStream& random) const override {
    const Box box = draw_crop(image.height(), image.width(), range_, random);
    Image out = resize(image, box, size(), size(), Filter::kBicubic);
    if (random.next_double() < flip_) flip_horizontally(out);
    if (color_jitter_ > 0) apply_jitter(draw_jitter(color_jitter_, random), out);
    return out;
  }

 private:
  CropRange range_;
  double flip_;
  double color_jitter_;
};

// What the shorter side becomes before fgvc_eval's centre crop.
int64_t eval_resize(const TransformConfig& c) {
  return c.resize > 0 ? c.resize : c.size * 256 / 224;
}

class FgvcEval : public Transform {
 public:
  explicit FgvcEval(const TransformConfig& c) : Transform(c), resize_(eval_resize(c)) {
    if (resize_ < c.size) {
      throw core::ConfigError(core::str("data.transform.resize = ", c.resize, " is smaller than data.transform.size = ",
                                        c.size, ", so the centre crop would not fit. Set resize >= size, or 0."));
    }
  }
  Image to_size(Image image, core::RandomStream&) const override {
    return center_crop(resize_shorter_side(image, resize_, Filter::kBilinear), size());
  }

 private:
  int64_t resize_;
};

class Vtab : public Transform {
 public:
  explicit Vtab(const TransformConfig& c) : Transform(c) {}
  Image to_size(Image image, core::RandomStream&) const override {
    return resize(image, size(), size(), Filter::kBicubic);
  }
};

// Pictures come in their final size.
class None : public Transform {
 public:
  explicit None(const TransformConfig& c) : Transform(c) {}
  Image to_size(Image image, core::RandomStream&) const override {
    if (image.height() != size() || image.width() != size()) {
      throw core::DataError(core::str("it has ", image.height(), " x ", image.width(),
                                      " pixels, but this recipe takes ", size(), " x ", size(),
                                      " only. Set data.transform.size, or a recipe that resizes (vtab)."));
    }
    return image;
  }
};

class SmallTrain : public Vtab {
 public:
  explicit SmallTrain(const TransformConfig& c) : Vtab(c), flip_(c.flip), shift_(c.shift) {
    if (shift_ < 0 || shift_ >= c.size) {
      throw core::ConfigError(core::str("data.transform.shift = ", shift_, " must be in [0, size = ", c.size, ")"));
    }
  }
  Image to_size(Image image, core::RandomStream& random) const override {
    image = Vtab::to_size(std::move(image), random);
    const int64_t down = random.below(static_cast<uint32_t>(2 * shift_ + 1)) - shift_;
    const int64_t right = random.below(static_cast<uint32_t>(2 * shift_ + 1)) - shift_;
    Image out = shift(image, down, right);
    if (random.next_double() < flip_) flip_horizontally(out);
    return out;
  }

 private:
  double flip_;
  int64_t shift_;
};

using Factory = std::function<std::shared_ptr<const Transform>(const TransformConfig&)>;

template <class T>
Factory factory() {
  return [](const TransformConfig& config) { return std::make_shared<const T>(config); };
}

core::Registry<Factory> recipes() {
  core::Registry<Factory> registry("data.transform recipe");
  registry.add("fgvc_train", factory<FgvcTrain>());
  registry.add("fgvc_eval", factory<FgvcEval>());
  registry.add("vtab", factory<Vtab>());
  registry.add("none", factory<None>());
  registry.add("small_train", factory<SmallTrain>());
  return registry;
}

struct Moments {
  std::vector<double> means, stds;
};

Moments moments_of(const std::string& name, const std::vector<double>& mean, const std::vector<double>& std) {
  std::vector<double> means, stds;
  if (name == "imagenet") {
    means = {0.485, 0.456, 0.406};
    stds = {0.229, 0.224, 0.225};
  } else if (name == "inception") {
    means = stds = {0.5, 0.5, 0.5};
  } else if (name == "none") {
    means = {0, 0, 0};
    stds = {1, 1, 1};
  } else if (name == "custom") {
    means = mean;
    stds = std;
  } else {
    throw core::ConfigError(
        core::str("unknown data.transform.normalize '", name, "'; known: imagenet, inception, none, custom"));
  }
  if (means.size() != 3 || stds.size() != 3 || !(stds[0] > 0 && stds[1] > 0 && stds[2] > 0)) {
    throw core::ConfigError(
        "data.transform.normalize = custom needs data.transform.mean and data.transform.std with "
        "three numbers each (red, green, blue), and every std > 0");
  }
  return {means, stds};
}

}  // namespace

Normalization::Normalization(const std::string& name, const std::vector<double>& mean, const std::vector<double>& std) {
  const auto [means, stds] = moments_of(name, mean, std);
  for (size_t c = 0; c < 3; ++c) {
    for (size_t v = 0; v < 256; ++v) {
      table_[c][v] = (static_cast<float>(v) / 255.0F - static_cast<float>(means[c])) / static_cast<float>(stds[c]);
    }
  }
}

void Normalization::apply(const Image& image, std::span<float> out) const {
  const int64_t plane = image.height() * image.width();
  core::check(static_cast<int64_t>(out.size()) == 3 * plane, "a normalised image's buffer has the wrong size");
  float* red = out.data();
  float* green = red + plane;
  float* blue = green + plane;
  const uint8_t* rgb = image.data();
  for (int64_t i = 0; i < plane; ++i, rgb += 3) {
    red[i] = table_[0][rgb[0]];
    green[i] = table_[1][rgb[1]];
    blue[i] = table_[2][rgb[2]];
  }
}

void Transform::apply(Image image, const core::StreamKey& key, std::span<float> out, const std::string& name) const {
  core::RandomStream random(key);
  try {
    normalization_.apply(to_size(std::move(image), random), out);
  } catch (const core::DataError& error) {
    throw core::DataError(core::str("image '", name, "': ", error.what()));
  }
}

std::shared_ptr<const Transform> make_transform(const std::string& name, const TransformConfig& config) {
  if (config.size < 1 || config.size > kMaxImageSide / 4) {
    throw core::ConfigError(
        core::str("data.transform.size = ", config.size, " must be in [1, ", kMaxImageSide / 4, "]"));
  }
  return recipes().get(name)(config);
}

EvalRecipe describe_eval(const TransformConfig& config) {
  EvalRecipe out;
  if (config.eval == "fgvc_eval") {
    out.crop_mode = "center";
    out.interpolation = "bilinear";
    const auto size = static_cast<double>(config.size), resized = static_cast<double>(eval_resize(config));
    out.crop_pct = size / resized;
    if (std::floor(size / out.crop_pct) < resized) out.crop_pct = std::nextafter(out.crop_pct, 0.0);
  }
  auto [means, stds] = moments_of(config.normalize, config.mean, config.std);
  out.mean = std::move(means);
  out.std = std::move(stds);
  return out;
}

std::vector<std::string> transform_names() {
  return recipes().names();
}

std::vector<std::string> ignored_settings(const TransformConfig& config) {
  const TransformConfig usual;
  std::vector<std::string> ignored;
  const auto look = [&](const std::string& setting, bool changed, const std::vector<std::string>& users) {
    const auto uses = [&](const std::string& recipe) { return std::ranges::find(users, recipe) != users.end(); };
    if (!changed || uses(config.train) || uses(config.eval)) return;
    std::string text = "data.transform." + setting + " (used by " + users[0];
    for (size_t i = 1; i < users.size(); ++i) text += ", " + users[i];
    ignored.push_back(text + ")");
  };
  look("resize", config.resize != usual.resize, {"fgvc_eval"});
  look("crop_scale", config.crop_scale != usual.crop_scale, {"fgvc_train"});
  look("color_jitter", config.color_jitter != usual.color_jitter && config.color_jitter > 0, {"fgvc_train"});
  look("flip", config.flip != usual.flip && config.flip > 0, {"fgvc_train", "small_train"});
  look("shift", config.shift != usual.shift && config.shift > 0, {"small_train"});
  return ignored;
}

}  // namespace snell::data
