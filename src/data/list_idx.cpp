// The idx format of MNIST and Fashion-MNIST (http://yann.lecun.com/exdb/mnist, "File formats"): two zero bytes, the
// element type, the number of dimensions, the big-endian extents, the elements.
#include <filesystem>

#include "listing.h"
#include "snell/core/error.h"
#include "snell/io/files.h"

namespace snell::data {

using core::DataError;
using core::str;

namespace {

struct IdxArray {
  std::string file;
  std::vector<uint64_t> shape;
  std::shared_ptr<const std::vector<std::byte>> bytes;
  size_t begin = 0;  // of the elements
};

IdxArray read_idx(const DatasetSchema& schema, const std::string& source, const std::string& name) {
  constexpr unsigned kUnsignedByte = 8;
  IdxArray array;
  array.file = find_file(schema, source, name);
  array.bytes = std::make_shared<std::vector<std::byte>>(
      io::read_maybe_gzipped(array.file, kMaxSourceFile, io::raise_data_error));
  const std::vector<std::byte>& bytes = *array.bytes;
  const auto at = [&](size_t i) { return std::to_integer<uint32_t>(bytes[i]); };
  const auto refuse = [&](const std::string& what) {
    throw DataError(str("'", array.file, "' is not an idx file of bytes: ", what, "; fetch it again"));
  };
  if (bytes.size() < 4 || at(0) != 0 || at(1) != 0 || at(2) != kUnsignedByte) refuse("its first four bytes are wrong");
  const size_t rank = at(3);
  array.begin = 4 + 4 * rank;
  if (rank < 1 || rank > 4 || bytes.size() < array.begin) refuse(str("it has ", rank, " dimensions or is cut off"));
  uint64_t elements = 1;
  for (size_t d = 0; d < rank; ++d) {
    const size_t p = 4 + 4 * d;
    array.shape.push_back(at(p) << 24 | at(p + 1) << 16 | at(p + 2) << 8 | at(p + 3));
    if (__builtin_mul_overflow(elements, array.shape.back(), &elements)) refuse("its shape is impossible");
  }
  if (elements != bytes.size() - array.begin) {
    refuse(str("its shape needs ", elements, " bytes, it has ", bytes.size() - array.begin));
  }
  return array;
}

}  // namespace

Listing list_idx(const DatasetSchema& schema, const std::string& source) {
  Listing listing(schema);
  if (listing.class_names.empty()) listing.class_names = numbered_classes(schema.num_classes);
  for (const SplitSchema& split : schema.splits) {
    const IdxArray images = read_idx(schema, source, split.images);
    const IdxArray labels = read_idx(schema, source, split.labels);
    const bool grey = images.shape.size() == 3, rgb = images.shape.size() == 4 && images.shape[3] == 3;
    if (!grey && !rgb) throw DataError(str("'", images.file, "' holds no grey or RGB images, by its shape"));
    if (labels.shape.size() != 1 || labels.shape[0] != images.shape[0]) {
      throw DataError(str("'", labels.file, "' does not hold one label for each of the ", images.shape[0],
                          " images of '", images.file, "'"));
    }
    const size_t image_bytes = images.shape[1] * images.shape[2] * (rgb ? 3 : 1);
    if (image_bytes == 0) throw DataError(str("'", images.file, "' holds images without pixels"));
    const std::string name = std::filesystem::path(images.file).filename().string();
    listing.keep_alive.push_back(images.bytes);
    listing.begin_split(split.name);
    for (size_t i = 0; i < images.shape[0]; ++i) {
      listing.add_index(
          listing.add_raw({str(name, "#", i), std::to_integer<int64_t>((*labels.bytes)[labels.begin + i]),
                           grey ? Encoding::kRawGrey : Encoding::kRawRgb, static_cast<uint32_t>(images.shape[1]),
                           static_cast<uint32_t>(images.shape[2]),
                           std::span(*images.bytes).subspan(images.begin + i * image_bytes, image_bytes), false}));
    }
  }
  return listing;
}

}  // namespace snell::data
