// From a decoded picture to what the model is fed: the recipes of method.md by name, and the normalisation.
//
// A recipe's random draws come from the stream of (seed, kAugment, epoch, slot) alone, so they do not depend on the
// number of ranks or workers, nor on where a run was resumed.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "snell/core/random.h"
#include "snell/data/augment.h"
#include "snell/data/image.h"

namespace snell::config {
class Binder;
}

namespace snell::data {

// data.transform
struct TransformConfig {
  std::string train = "fgvc_train";
  std::string eval = "fgvc_eval";
  int64_t size = 224;
  int64_t resize = 0;
  std::string normalize = "imagenet";
  std::vector<double> mean, std;
  std::vector<double> crop_scale{0.08, 1.0};
  double flip = 0.5;
  double color_jitter = 0.4;
  int64_t shift = 2;
};
void bind(config::Binder& binder, TransformConfig& config);

// (value / 255 - mean) / std a channel, in single precision as torchvision computes it. Immutable.
class Normalization {
 public:
  // name: imagenet, inception (0.5, 0.5), none (0, 1), custom (mean and std, three each). Throws ConfigError.
  Normalization(const std::string& name, const std::vector<double>& mean, const std::vector<double>& std);
  // Writes the image as float32 [3, height, width]; `out` has exactly that many elements.
  void apply(const Image& image, std::span<float> out) const;

 private:
  std::array<std::array<float, 256>, 3> table_;
};

// One recipe. Immutable: worker threads share it.
class Transform {
 public:
  virtual ~Transform() = default;

  // float32 [3, size, size] into `out`. Throws DataError that names the picture when the recipe cannot take it.
  void apply(Image image, const core::StreamKey& key, std::span<float> out, const std::string& name) const;
  // The same before the normalisation: uint8, size x size.
  virtual Image to_size(Image image, core::RandomStream& random) const = 0;
  int64_t size() const { return size_; }

 protected:
  explicit Transform(const TransformConfig& config)
      : size_(config.size), normalization_(config.normalize, config.mean, config.std) {}

 private:
  int64_t size_;
  Normalization normalization_;
};

// fgvc_train: RandomResizedCrop (bicubic), flip, ColorJitter. fgvc_eval: shorter side to `resize` (0: size * 256 / 224,
// rounded down), bilinear, then the centre. vtab: straight to size x size, bicubic. none: pictures that have the size
// already. small_train: as vtab (which changes nothing at the right size), then shifted by up to `shift` pixels (black
// comes in) and flipped.
// Throws ConfigError for an unknown name, with the nearest one, and for settings that contradict each other.
std::shared_ptr<const Transform> make_transform(const std::string& name, const TransformConfig& config);
std::vector<std::string> transform_names();

// The evaluation recipe in timm's words, for programs that feed an exported model. A recipe with random draws is told
// as vtab.
struct EvalRecipe {
  std::string crop_mode = "squash";  // squash: straight to the size; center: shorter side, then the centre
  std::string interpolation = "bicubic";
  double crop_pct = 1;            // floor(size / crop_pct) is the shorter side before the crop
  std::vector<double> mean, std;  // red, green, blue, of values in [0, 1]
};
EvalRecipe describe_eval(const TransformConfig& config);

// Settings that were changed although neither the training nor the evaluation recipe looks at them, as
// "data.transform.flip (used by fgvc_train, small_train)"; for a warning. What was switched off (0) is no loss.
std::vector<std::string> ignored_settings(const TransformConfig& config);

}  // namespace snell::data
