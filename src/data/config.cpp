#include "snell/data/config.h"

#include "snell/config/binder.h"

namespace snell::data {

void bind(config::Binder& b, TransformConfig& c) {
  b.field("train", c.train, "recipe for training pictures", config::one_of(transform_names()));
  b.field("eval", c.eval, "recipe for evaluation pictures", config::one_of(transform_names()));
  b.field("size", c.size, "height and width that the model is fed, pixels", config::in_range(1, kMaxImageSide / 4));
  b.field("resize", c.resize, "fgvc_eval: the shorter side before the centre crop, pixels; 0: size * 256 / 224",
          config::in_range(0, kMaxImageSide / 4));
  b.field("normalize", c.normalize, "mean and std: of ImageNet, 0.5 (inception), 0 and 1 (none), or custom",
          config::one_of({"imagenet", "inception", "none", "custom"}));
  b.field("mean", c.mean, "custom: means of red, green, blue in [0, 1]", config::fraction());
  b.field("std", c.std, "custom: standard deviations of red, green, blue", config::positive());
  b.field("crop_scale", c.crop_scale, "fgvc_train: least and most of the picture's area in a crop", config::fraction());
  b.field("flip", c.flip, "fgvc_train, small_train: probability of a horizontal flip", config::fraction());
  b.field("color_jitter", c.color_jitter, "fgvc_train: strength of brightness, contrast, saturation; 0: none",
          config::fraction());
  b.field("shift", c.shift, "small_train: most pixels that a picture is moved by", config::at_least(0));
  b.require(c.crop_scale.size() == 2 && 0 < c.crop_scale[0] && c.crop_scale[0] <= c.crop_scale[1], "crop_scale",
            "two numbers are needed, 0 < least <= most, such as [0.08, 1.0]");
  const bool custom = c.normalize == "custom";
  b.require(custom ? c.mean.size() == 3 && c.std.size() == 3 : c.mean.empty() && c.std.empty(), "mean",
            "mean and std are three numbers each with normalize: custom, and are not set with another");
}

void bind(config::Binder& b, DataConfig& c) {
  b.field("name", c.name, "name of the data set, for tables and reports");
  b.field("file", c.file, "HDF5 file that `snell convert` wrote");
  b.field("train_split", c.train_split, "split to train on");
  b.field("eval_split", c.eval_split, "split to evaluate on");
  b.field("batch_size", c.batch_size, "samples of a training step over all ranks", config::in_range(1, 1 << 24));
  b.field("eval_batch_size", c.eval_batch_size, "samples of an evaluation batch on a rank",
          config::in_range(1, 1 << 24));
  b.field("workers", c.workers, "threads a rank that decode; 0: the training thread does it",
          config::in_range(0, 1024));
  b.field("prefetch", c.prefetch, "batches decoded ahead, at most", config::in_range(1, 1024));
  b.field("drop_last", c.drop_last, "leave out the last batch of an epoch where it is smaller");
  b.section("transform", c.transform);
}

}  // namespace snell::data
