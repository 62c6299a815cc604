#include "zip_directory.h"

#include <algorithm>

#include "snell/core/text.h"
#include "snell/io/files.h"

namespace snell::io {

using core::str;

namespace {

constexpr uint32_t kLocalHeader = 0x04034b50, kCentralHeader = 0x02014b50, kDescriptor = 0x08074b50;
constexpr uint32_t kEnd = 0x06054b50, kEnd64 = 0x06064b50, kLocator64 = 0x07064b50;
constexpr size_t kLocalSize = 30, kCentralSize = 46, kEndSize = 22, kEnd64Size = 56, kLocator64Size = 20;
constexpr uint16_t kHasDescriptor = 1 << 3, kUtf8 = 1 << 11, kEncrypted = 1 << 0, kDeflateLevel = 3 << 1;
constexpr uint16_t kStored = 0, kDeflated = 8;
constexpr uint16_t kExtraZip64 = 0x0001, kExtraPadding = 0x4246;  // torch's padding: "FB", then only 'Z'

// A record of fixed layout, read from left to right.
class Record {
 public:
  explicit Record(std::span<const std::byte> bytes) : bytes_(bytes) {}
  size_t left() const { return bytes_.size(); }
  template <class T>
  T take() {
    const T value = number_at<T>(bytes_, 0);
    bytes_ = bytes_.subspan(sizeof(T));
    return value;
  }
  std::span<const std::byte> take_bytes(size_t size) {
    const auto out = bytes_.first(size);
    bytes_ = bytes_.subspan(size);
    return out;
  }

 private:
  std::span<const std::byte> bytes_;
};

// What the central directory tells of an entry beyond ZipEntry.
struct Central {
  ZipEntry entry;
  uint64_t local_begin = 0;
  // Which program wrote it and what its file system thought: of no use here, but alike in all entries.
  uint16_t made_by = 0, internal_attributes = 0;
  uint32_t external_attributes = 0;
  // Repeated in the local header.
  uint16_t needs = 0, flags = 0, method = 0, time = 0, date = 0;
};

class DirectoryParser {
 public:
  explicit DirectoryParser(const FileBytes& file) : file_(file), bytes_(file.bytes) {}

  std::vector<ZipEntry> parse() {
    find_directory();
    std::vector<Central> all = read_directory();
    std::sort(all.begin(), all.end(), [](const Central& a, const Central& b) { return a.local_begin < b.local_begin; });
    // Each entry ends where the next one begins, so that the last place bounds them all.
    if (!all.empty() && all.back().local_begin >= directory_begin_) {
      refuse_entry(all.back(), "it does not lie before the directory");
    }
    std::vector<ZipEntry> entries;
    entries.reserve(all.size());
    uint64_t position = 0;
    for (size_t i = 0; i < all.size(); ++i) {
      if (all[i].local_begin != position) refuse_entry(all[i], "it leaves a gap or overlaps another");
      position = i + 1 < all.size() ? all[i + 1].local_begin : directory_begin_;
      check_local(all[i], position);
      // A touched header may have mapped 2 MB of content with it.
      file_.part(all[i].local_begin, kLocalSize).give_back();
      entries.push_back(std::move(all[i].entry));
    }
    if (entries.empty() && directory_begin_ != 0) refuse("bytes that belong to no entry");
    return entries;
  }

 private:
  [[noreturn]] void refuse(const std::string& what) const {
    raise_weights_error(str("'", file_.path, "' is a damaged or unusual zip archive: ", what,
                            "; fetch it again, or write it again with torch.save or numpy.savez"));
  }
  [[noreturn]] void refuse_entry(const Central& central, const std::string& what) const {
    refuse(str("entry '", printable(central.entry.name), "': ", what));
  }

  void find_directory() {
    if (bytes_.size() < kEndSize) refuse("it is cut off");
    const size_t end_begin = bytes_.size() - kEndSize;
    Record end(bytes_.subspan(end_begin));
    if (end.take<uint32_t>() != kEnd) refuse("its end record is missing: it is cut off, or something follows it");
    const auto disks = end.take<uint32_t>();
    const auto entries_here = end.take<uint16_t>(), entries = end.take<uint16_t>();
    const auto size = end.take<uint32_t>(), begin = end.take<uint32_t>();
    if (disks != 0 || end.take<uint16_t>() != 0 || entries_here != entries) refuse("its end record contradicts itself");
    num_entries_ = entries;
    directory_begin_ = begin;
    uint64_t directory_size = size, directory_end = end_begin;
    if (end_begin >= kLocator64Size + kEnd64Size &&
        number_at<uint32_t>(bytes_, end_begin - kLocator64Size) == kLocator64) {
      directory_end = end_begin - kLocator64Size - kEnd64Size;
      Record locator(bytes_.subspan(end_begin - kLocator64Size + 4));
      const auto disk = locator.take<uint32_t>();
      const auto begin64 = locator.take<uint64_t>();
      if (disk != 0 || locator.take<uint32_t>() != 1 || begin64 != directory_end) refuse("its zip64 locator is wrong");
      read_end64(directory_end, directory_size);
      // The short record repeats each number or says that it does not fit.
      if ((entries != num_entries_ && entries != 0xffff) || (size != directory_size && size != 0xffffffff) ||
          (begin != directory_begin_ && begin != 0xffffffff)) {
        refuse("its two end records contradict each other");
      }
    }
    if (directory_begin_ > directory_end || directory_size != directory_end - directory_begin_) {
      refuse("its directory does not lie where its end record says");
    }
    directory_ = bytes_.subspan(directory_begin_, directory_size);
  }

  void read_end64(uint64_t begin, uint64_t& directory_size) {
    Record end(bytes_.subspan(begin, kEnd64Size));
    const bool known = end.take<uint32_t>() == kEnd64 && end.take<uint64_t>() == kEnd64Size - 12;
    const auto made_by = end.take<uint16_t>(), needs = end.take<uint16_t>();
    // Nothing else in the file repeats these two: 4.5 is the version that brought zip64; the others are those of
    // torch's writer and of Python's, libzip's and Info-ZIP's.
    const uint16_t system = made_by >> 8, version = made_by & 0xff;
    const bool plausible = needs == 45 && (system == 0 || system == 3) &&
                           (version == 30 || version == 45 || version == 46 || version == 63);
    const auto disks = end.take<uint64_t>(), here = end.take<uint64_t>();
    num_entries_ = end.take<uint64_t>();
    directory_size = end.take<uint64_t>();
    directory_begin_ = end.take<uint64_t>();
    if (!known || !plausible || disks != 0 || here != num_entries_) refuse("its zip64 end record is wrong");
  }

  std::vector<Central> read_directory() {
    if (num_entries_ > ZipFile::kMaxEntries || num_entries_ > directory_.size() / kCentralSize) {
      refuse(str("its end record claims ", num_entries_, " entries, at most ", ZipFile::kMaxEntries, " are read"));
    }
    std::vector<Central> all;
    all.reserve(num_entries_);
    Record directory(directory_);
    for (uint64_t i = 0; i < num_entries_; ++i) {
      all.push_back(read_central(directory));
      const Central &first = all.front(), &last = all.back();
      if (!same_program(first.made_by, last.made_by) || last.internal_attributes != first.internal_attributes ||
          last.external_attributes != first.external_attributes) {
        refuse_entry(last, "another program than the first entry's has written it");
      }
    }
    if (directory.left() != 0) refuse("its directory is longer than its entries");
    return all;
  }

  // System and version; Python says 4.5 for an entry that needs zip64 and 2.0 for the others.
  static bool same_program(uint16_t a, uint16_t b) {
    const auto python = [](uint16_t made_by) { return (made_by & 0xff) == 20 || (made_by & 0xff) == 45; };
    return a == b || (a >> 8 == b >> 8 && python(a) && python(b));
  }

  Central read_central(Record& directory) const {
    if (directory.left() < kCentralSize) refuse("its directory is cut off");
    if (directory.take<uint32_t>() != kCentralHeader) refuse("its directory holds something else than entries");
    Central c;
    c.made_by = directory.take<uint16_t>();
    c.needs = directory.take<uint16_t>();
    c.flags = directory.take<uint16_t>();
    c.method = directory.take<uint16_t>();
    c.time = directory.take<uint16_t>();
    c.date = directory.take<uint16_t>();
    c.entry.crc = directory.take<uint32_t>();
    c.entry.packed_size = directory.take<uint32_t>();
    c.entry.size = directory.take<uint32_t>();
    const size_t name_size = directory.take<uint16_t>(), extra_size = directory.take<uint16_t>();
    const auto comment_size = directory.take<uint16_t>(), disk = directory.take<uint16_t>();
    c.internal_attributes = directory.take<uint16_t>();
    c.external_attributes = directory.take<uint32_t>();
    c.local_begin = directory.take<uint32_t>();
    if (directory.left() < name_size + extra_size) refuse("its directory is cut off");
    const auto name = directory.take_bytes(name_size);
    c.entry.name.assign(reinterpret_cast<const char*>(name.data()), name.size());
    read_central_extra(c, directory.take_bytes(extra_size));
    if (comment_size != 0 || disk != 0) refuse_entry(c, "it has a comment or lies in another file");
    check_method(c);
    return c;
  }

  // Only zip64's field: the numbers that do not fit, in this order.
  void read_central_extra(Central& c, std::span<const std::byte> bytes) const {
    uint64_t* const numbers[] = {&c.entry.size, &c.entry.packed_size, &c.local_begin};
    size_t needed = 0;
    for (const uint64_t* number : numbers) needed += *number == 0xffffffff ? 8 : 0;
    if (bytes.empty() && needed == 0) return;
    Record extra(bytes);
    if (extra.left() != 4 + needed || extra.take<uint16_t>() != kExtraZip64 || extra.take<uint16_t>() != needed) {
      refuse_entry(c, "it has an extra field of an unknown kind in the directory");
    }
    for (uint64_t* number : numbers) {
      if (*number == 0xffffffff) *number = extra.take<uint64_t>();
    }
  }

  void check_method(Central& c) const {
    if ((c.flags & kEncrypted) != 0) refuse_entry(c, "it is encrypted");
    c.entry.deflated = c.method == kDeflated;
    if (c.method != kStored && !c.entry.deflated) refuse_entry(c, "it is packed by another method than deflate");
    const uint16_t allowed = kHasDescriptor | kUtf8 | (c.entry.deflated ? kDeflateLevel : 0);
    if ((c.flags & ~allowed) != 0) refuse_entry(c, "it has unknown flags");
    // Deflate packs at most 1032 to 1.
    const uint64_t packed = c.entry.packed_size;
    if (c.entry.deflated ? c.entry.size / 1032 > packed : c.entry.size != packed) {
      refuse_entry(c, str("it claims ", c.entry.size, " bytes out of ", packed, " packed ones"));
    }
  }

  // [c.local_begin, end): local header, name, extra fields, content, and a descriptor if the flags say so.
  void check_local(Central& c, uint64_t end) const {
    if (end < c.local_begin || end - c.local_begin < kLocalSize) refuse_entry(c, "its header is cut off");
    Record local(bytes_.subspan(c.local_begin, end - c.local_begin));
    const auto kind = local.take<uint32_t>();
    const auto needs = local.take<uint16_t>();
    // Python's directory may need zip64 (4.5) for the entry's place, of which the header says nothing.
    if (kind != kLocalHeader || (needs != c.needs && !(needs == 20 && c.needs == 45)) ||
        local.take<uint16_t>() != c.flags || local.take<uint16_t>() != c.method || local.take<uint16_t>() != c.time ||
        local.take<uint16_t>() != c.date) {
      refuse_entry(c, "its header and the directory contradict each other");
    }
    // With a descriptor the header may be from before the content was known.
    const bool later = (c.flags & kHasDescriptor) != 0;
    const auto crc = local.take<uint32_t>(), packed = local.take<uint32_t>(), size = local.take<uint32_t>();
    // Python since 3.11.4 says by the sizes that the descriptor is zip64's.
    const bool unknown = later && crc == 0 && packed == size && (size == 0 || size == 0xffffffff);
    const auto agrees = [](uint32_t said, uint64_t is) { return said == is || said == 0xffffffff; };
    if (!unknown && (crc != c.entry.crc || !agrees(packed, c.entry.packed_size) || !agrees(size, c.entry.size))) {
      refuse_entry(c, "its header and the directory contradict each other in size or checksum");
    }
    const size_t name_size = local.take<uint16_t>(), extra_size = local.take<uint16_t>();
    if (local.left() < name_size + extra_size) refuse_entry(c, "its header is cut off");
    const auto name = local.take_bytes(name_size);
    if (std::string_view(reinterpret_cast<const char*>(name.data()), name.size()) != c.entry.name) {
      refuse_entry(c, "it has another name in its header");
    }
    const bool wide = check_local_extra(c, local.take_bytes(extra_size));
    if (!wide && (packed == 0xffffffff || size == 0xffffffff) && c.entry.size != 0xffffffff) {
      refuse_entry(c, "its size is missing in its header");
    }
    if (local.left() < c.entry.packed_size) refuse_entry(c, "its content is cut off");
    c.entry.packed_begin = end - local.left();
    local.take_bytes(c.entry.packed_size);
    check_descriptor(c, local, later);
  }

  // True when there is a zip64 field with sizes.
  bool check_local_extra(const Central& c, std::span<const std::byte> bytes) const {
    Record extra(bytes);
    bool wide = false;
    while (extra.left() >= 4) {
      const auto kind = extra.take<uint16_t>();
      const size_t size = extra.take<uint16_t>();
      if (size > extra.left()) refuse_entry(c, "its extra fields are cut off");
      Record field(extra.take_bytes(size));
      if (kind == kExtraPadding) {
        const auto padding = field.take_bytes(field.left());
        if (std::all_of(padding.begin(), padding.end(), [](std::byte b) { return b == std::byte{'Z'}; })) continue;
      }
      if (kind != kExtraZip64 || size % 8 != 0 || size > 24)
        refuse_entry(c, "it has an extra field of an unknown kind");
      wide = wide || size >= 16;
      // torch's writer puts in only what does not fit, numpy's always both sizes.
      while (field.left() > 0) {
        const auto number = field.take<uint64_t>();
        if (number != c.entry.size && number != c.entry.packed_size && number != c.local_begin &&
            !(number == 0 && (c.flags & kHasDescriptor) != 0)) {
          refuse_entry(c, "its header and the directory contradict each other in size");
        }
      }
    }
    if (extra.left() != 0) refuse_entry(c, "its extra fields are cut off");
    return wide;
  }

  void check_descriptor(const Central& c, Record& rest, bool expected) const {
    const size_t size = rest.left();
    const bool known = expected ? size == 12 || size == 16 || size == 20 || size == 24 : size == 0;
    if (!known) refuse_entry(c, "bytes that belong to no entry follow it");
    if (!expected) return;
    bool agrees = size % 8 != 0 || rest.take<uint32_t>() == kDescriptor;
    agrees = rest.take<uint32_t>() == c.entry.crc && agrees;
    for (const uint64_t number : {c.entry.packed_size, c.entry.size}) {
      agrees = (size < 20 ? rest.take<uint32_t>() : rest.take<uint64_t>()) == number && agrees;
    }
    if (!agrees) refuse_entry(c, "its descriptor and the directory contradict each other");
  }

  const FileBytes& file_;
  std::span<const std::byte> bytes_, directory_;
  uint64_t num_entries_ = 0, directory_begin_ = 0;
};

}  // namespace

std::vector<ZipEntry> parse_zip_directory(const FileBytes& file) {
  return DirectoryParser(file).parse();
}

}  // namespace snell::io
