#include "zip_file.h"

#include <zlib.h>

#include <algorithm>
#include <numeric>

#include "snell/core/text.h"
#include "snell/io/files.h"
#include "zip_directory.h"

namespace snell::io {

using core::str;

namespace {

constexpr size_t kPiece = 8 << 20;

struct InflateEnd {
  void operator()(z_stream* stream) const { inflateEnd(stream); }
};

// Unpacks a deflated entry piece by piece.
class Inflater {
 public:
  explicit Inflater(std::span<const std::byte> packed) : packed_(packed) {
    if (inflateInit2(&stream_, -MAX_WBITS) == Z_OK) guard_.reset(&stream_);
  }

  // Fills `out` from its start and returns how much of it; less than all only at the end or at damage.
  size_t fill(std::span<std::byte> out) {
    size_t done = 0;
    while (guard_ != nullptr && !ended_ && done < out.size()) {
      if (stream_.avail_in == 0) {
        const auto piece = packed_.first(std::min(packed_.size(), kPiece));
        packed_ = packed_.subspan(piece.size());
        stream_.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(piece.data()));
        stream_.avail_in = static_cast<uInt>(piece.size());
      }
      const size_t wanted = std::min(out.size() - done, kPiece);
      stream_.next_out = reinterpret_cast<Bytef*>(out.data() + done);
      stream_.avail_out = static_cast<uInt>(wanted);
      // Z_BLOCK stops after each block: after the last one (64), its last byte may have bits that nothing uses.
      const int code = inflate(&stream_, Z_BLOCK);
      done += wanted - stream_.avail_out;
      const int unused = stream_.data_type & 7;
      if ((stream_.data_type & 64) != 0 && (stream_.data_type & 128) != 0 && unused > 0) {
        unused_bits_ = stream_.next_in[-1] >> (8 - unused);
      }
      ended_ = code != Z_OK;
      complete_ = code == Z_STREAM_END && stream_.avail_in == 0 && packed_.empty() && unused_bits_ == 0;
    }
    return done;
  }

  // Whether the stream has ended, and with its last packed bit: what is behind it must be zero, or a flip went unseen.
  bool complete() {
    std::byte extra;
    return fill(std::span(&extra, 1)) == 0 && complete_;
  }

 private:
  std::span<const std::byte> packed_;
  z_stream stream_ = {};
  std::unique_ptr<z_stream, InflateEnd> guard_;
  bool ended_ = false, complete_ = false;
  int unused_bits_ = 0;
};

uint32_t add_crc(uint32_t crc, std::span<const std::byte> bytes) {
  return static_cast<uint32_t>(crc32_z(crc, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

}  // namespace

ZipFile::ZipFile(FileBytes file) : file_(std::move(file)), entries_(parse_zip_directory(file_)) {
  by_name_.resize(entries_.size());
  std::iota(by_name_.begin(), by_name_.end(), 0u);
  std::sort(by_name_.begin(), by_name_.end(),
            [&](uint32_t a, uint32_t b) { return entries_[a].name < entries_[b].name; });
  for (size_t i = 1; i < by_name_.size(); ++i) {
    if (entries_[by_name_[i]].name == entries_[by_name_[i - 1]].name) {
      refuse(entries_[by_name_[i]], "it appears twice");
    }
  }
  checked_ = std::make_unique<std::atomic<bool>[]>(entries_.size());
}

const ZipEntry* ZipFile::find(std::string_view name) const {
  const auto found = std::lower_bound(by_name_.begin(), by_name_.end(), name,
                                      [&](uint32_t i, std::string_view wanted) { return entries_[i].name < wanted; });
  return found != by_name_.end() && entries_[*found].name == name ? &entries_[*found] : nullptr;
}

void ZipFile::refuse(const ZipEntry& entry, const std::string& what) const {
  raise_weights_error(
      str("'", path(), "' is damaged: entry '", printable(entry.name), "': ", what, "; fetch or write it again"));
}

// A large entry goes piece by piece, so that no more of it becomes resident than whoever asked for it needs.
void ZipFile::check_stored(const ZipEntry& entry) const {
  std::atomic<bool>& checked = checked_[static_cast<size_t>(&entry - entries_.data())];
  if (checked) return;
  uint32_t crc = 0;
  for (uint64_t at = 0; at < entry.size; at += kPiece) {
    const FileBytes piece = file_.part(entry.packed_begin + at, std::min<uint64_t>(kPiece, entry.size - at));
    crc = add_crc(crc, piece.bytes);
    if (entry.size > kPiece) piece.give_back();
  }
  if (crc != entry.crc) refuse(entry, "its checksum does not match");
  checked = true;
}

FileBytes ZipFile::read(const ZipEntry& entry, uint64_t max_bytes) const {
  const FileBytes packed = file_.part(entry.packed_begin, entry.packed_size);
  if (!entry.deflated) {
    check_stored(entry);
    return packed;
  }
  if (entry.size > max_bytes) {
    refuse(entry, str("it unpacks to ", entry.size, " bytes, at most ", max_bytes, " are allowed for a file of ",
                      file_size(), " bytes; if that is right, write it without compression"));
  }
  std::vector<std::byte> content(entry.size);
  Inflater inflater(packed.bytes);
  const bool whole = inflater.fill(content) == content.size() && inflater.complete();
  packed.give_back();
  if (!whole) refuse(entry, "it cannot be unpacked");
  if (add_crc(0, content) != entry.crc) refuse(entry, "its checksum does not match");
  return FileBytes::of(path(), std::move(content));
}

std::vector<std::byte> ZipFile::head(const ZipEntry& entry, size_t size) const {
  std::vector<std::byte> out(std::min<uint64_t>(size, entry.size));
  const auto packed = file_.bytes.subspan(entry.packed_begin, entry.packed_size);
  if (!entry.deflated) {
    std::copy_n(packed.begin(), out.size(), out.begin());
  } else if (Inflater(packed).fill(out) != out.size()) {
    refuse(entry, "it cannot be unpacked");
  }
  return out;
}

void ZipFile::verify() const {
  std::vector<std::byte> buffer;
  for (const ZipEntry& entry : entries_) {
    if (!entry.deflated) {
      check_stored(entry);
      file_.part(entry.packed_begin, entry.packed_size).give_back();
      continue;
    }
    buffer.resize(1 << 20);
    const FileBytes packed = file_.part(entry.packed_begin, entry.packed_size);
    Inflater inflater(packed.bytes);
    uint32_t crc = 0;
    uint64_t size = 0;
    for (size_t got = buffer.size(); got == buffer.size() && size <= entry.size; size += got) {
      got = inflater.fill(buffer);
      crc = add_crc(crc, std::span(buffer).first(got));
    }
    packed.give_back();
    if (!inflater.complete() || size != entry.size) refuse(entry, "it cannot be unpacked");
    if (crc != entry.crc) refuse(entry, "its checksum does not match");
  }
}

}  // namespace snell::io
