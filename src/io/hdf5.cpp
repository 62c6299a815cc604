#include "snell/io/hdf5.h"

#include <hdf5.h>

#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <type_traits>
#include <utility>

#include "snell/core/error.h"
#include "snell/io/host_tensor.h"

namespace snell::io {

using core::str;

static_assert(std::is_same_v<hid_t, int64_t>, "Hdf5Handle keeps an hid_t as int64_t");

namespace {

constexpr uint64_t kMaxText = 65536;       // bytes of a text attribute
constexpr uint64_t kMaxChildren = 100000;  // names in a group

std::recursive_mutex& library_mutex() {
  static std::recursive_mutex mutex;
  return mutex;
}

void set_up_library() {
  static std::once_flag once;
  std::call_once(once, [] { ::setenv("HDF5_USE_FILE_LOCKING", "FALSE", 0); });
}

// The innermost message of HDF5's error stack: it says what really went wrong.
std::string library_message() {
  std::string message;
  H5Ewalk2(
      H5E_DEFAULT, H5E_WALK_UPWARD,
      [](unsigned level, const H5E_error2_t* error, void* out) -> herr_t {
        if (level == 0 && error->desc != nullptr) *static_cast<std::string*>(out) = error->desc;
        return 0;
      },
      &message);
  return message;
}

template <class T>
hid_t stored_type() {
  if constexpr (std::is_same_v<T, uint8_t>) return H5T_STD_U8LE;
  if constexpr (std::is_same_v<T, uint32_t>) return H5T_STD_U32LE;
  if constexpr (std::is_same_v<T, uint64_t>) return H5T_STD_U64LE;
  if constexpr (std::is_same_v<T, int64_t>) return H5T_STD_I64LE;
  if constexpr (std::is_same_v<T, float>) return H5T_IEEE_F32LE;
  if constexpr (std::is_same_v<T, double>) return H5T_IEEE_F64LE;
}

}  // namespace

std::string hdf5_version() {
  const std::scoped_lock lock(library_mutex());
  unsigned major = 0, minor = 0, release = 0;
  if (H5get_libversion(&major, &minor, &release) < 0) return "unknown";
  return str(major, ".", minor, ".", release);
}

Hdf5Handle::Hdf5Handle(Hdf5Handle&& other) noexcept : id_(std::exchange(other.id_, -1)), close_(other.close_) {}

Hdf5Handle& Hdf5Handle::operator=(Hdf5Handle&& other) noexcept {
  if (this != &other) {
    close();
    id_ = std::exchange(other.id_, -1);
    close_ = other.close_;
  }
  return *this;
}

Hdf5Handle::~Hdf5Handle() {
  close();
}

int Hdf5Handle::close() {
  if (id_ < 0) return 0;
  const std::lock_guard lock(library_mutex());
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  return close_(std::exchange(id_, -1));
}

template <class Call>
auto Hdf5File::checked(const std::string& what, const Call& call) const {
  const std::lock_guard lock(library_mutex());
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);  // kept a thread by HDF5, so it is set before every call
  const auto result = call();
  if (result < 0) {
    const std::string detail = library_message();
    raise_(str("'", path_, "': HDF5 cannot ", what, detail.empty() ? "" : str(" (", printable(detail), ")")));
  }
  return result;
}

template <class Call>
Hdf5Handle Hdf5File::checked_handle(const std::string& what, Hdf5Handle::Close close, const Call& call) const {
  return Hdf5Handle(checked(what, call), close);
}

void Hdf5File::refuse(const std::string& name, const std::string& what) const {
  raise_(str("'", path_, "': '", printable(name), "' ", what, "; the file is damaged or was not written by snell"));
  throw core::Error("an error handler returned");
}

[[noreturn]] static void raise_disk_error(const std::string& message) {
  throw core::DiskError(str(message, "; check that the folder is writable and has room"));
}

Hdf5File Hdf5File::create(const std::string& path) {
  set_up_library();
  Hdf5File file(path, raise_disk_error);
  const Hdf5Handle access =
      file.checked_handle("make a property list", H5Pclose, [] { return H5Pcreate(H5P_FILE_ACCESS); });
  // HDF5 1.8's format has checksums over all metadata, and every reader in use knows it.
  file.checked("choose the file format",
               [&] { return H5Pset_libver_bounds(access.get(), H5F_LIBVER_V18, H5F_LIBVER_V18); });
  file.file_ = file.checked_handle("create the file", H5Fclose,
                                   [&] { return H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access.get()); });
  return file;
}

Hdf5File Hdf5File::open(const std::string& path, Raise raise) {
  set_up_library();
  Hdf5File file(path, raise);
  file.file_size_ = size_of_file(open_for_reading(path, raise), path, raise);
  file.file_ = file.checked_handle("open the file: it is damaged, cut off or of another format", H5Fclose,
                                   [&] { return H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT); });
  return file;
}

void Hdf5File::create_group(const std::string& name) {
  checked_handle(str("create '", name, "'"), H5Gclose,
                 [&] { return H5Gcreate2(file_.get(), name.c_str(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT); });
}

template <class T>
void Hdf5File::write(const std::string& name, std::span<const T> values, uint64_t columns) {
  const std::string what = str("write '", name, "'");
  hsize_t shape[2] = {values.size(), columns};
  if (columns > 0) {
    core::check(values.size() % columns == 0, str("'", name, "' is not a whole number of rows"));
    shape[0] = values.size() / columns;
  }
  const Hdf5Handle space =
      checked_handle(what, H5Sclose, [&] { return H5Screate_simple(columns > 0 ? 2 : 1, shape, nullptr); });
  const Hdf5Handle data = checked_handle(what, H5Dclose, [&] {
    return H5Dcreate2(file_.get(), name.c_str(), stored_type<T>(), space.get(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
  });
  if (values.empty()) return;
  checked(what, [&] { return H5Dwrite(data.get(), stored_type<T>(), H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()); });
}

void Hdf5File::create_bytes(const std::string& name, uint64_t size) {
  const std::string what = str("reserve ", size, " bytes for '", name, "'");
  const hsize_t shape = size;
  const Hdf5Handle space = checked_handle(what, H5Sclose, [&] { return H5Screate_simple(1, &shape, nullptr); });
  const Hdf5Handle creation = checked_handle(what, H5Pclose, [] { return H5Pcreate(H5P_DATASET_CREATE); });
  checked(what, [&] { return H5Pset_fill_time(creation.get(), H5D_FILL_TIME_NEVER); });
  checked(what, [&] { return H5Pset_alloc_time(creation.get(), H5D_ALLOC_TIME_EARLY); });
  checked_handle(what, H5Dclose, [&] {
    return H5Dcreate2(file_.get(), name.c_str(), H5T_STD_U8LE, space.get(), H5P_DEFAULT, creation.get(), H5P_DEFAULT);
  });
}

void Hdf5File::write_bytes(const std::string& name, uint64_t offset, std::span<const std::byte> bytes) {
  if (bytes.empty()) return;
  const std::string what = str("write '", name, "'");
  const hsize_t start = offset, count = bytes.size();
  const Hdf5Handle data =
      checked_handle(what, H5Dclose, [&] { return H5Dopen2(file_.get(), name.c_str(), H5P_DEFAULT); });
  const Hdf5Handle target = checked_handle(what, H5Sclose, [&] { return H5Dget_space(data.get()); });
  const Hdf5Handle source = checked_handle(what, H5Sclose, [&] { return H5Screate_simple(1, &count, nullptr); });
  checked(what, [&] { return H5Sselect_hyperslab(target.get(), H5S_SELECT_SET, &start, nullptr, &count, nullptr); });
  checked(what,
          [&] { return H5Dwrite(data.get(), H5T_STD_U8LE, source.get(), target.get(), H5P_DEFAULT, bytes.data()); });
}

void Hdf5File::write_attribute(const std::string& object, const std::string& name, const std::string& text) {
  const std::string what = str("write the attribute '", name, "'");
  const Hdf5Handle type = checked_handle(what, H5Tclose, [] { return H5Tcopy(H5T_C_S1); });
  const std::string stored = text.empty() ? std::string(1, '\0') : text;  // HDF5 has no texts of length 0
  core::check(stored.size() <= kMaxText, str("the attribute '", name, "' is too long"));
  checked(what, [&] { return H5Tset_size(type.get(), stored.size()); });
  checked(what, [&] { return H5Tset_strpad(type.get(), H5T_STR_NULLPAD); });
  checked(what, [&] { return H5Tset_cset(type.get(), H5T_CSET_UTF8); });
  const Hdf5Handle space = checked_handle(what, H5Sclose, [] { return H5Screate(H5S_SCALAR); });
  const std::string target = object.empty() ? "/" : object;
  const Hdf5Handle attribute = checked_handle(what, H5Aclose, [&] {
    return H5Acreate_by_name(file_.get(), target.c_str(), name.c_str(), type.get(), space.get(), H5P_DEFAULT,
                             H5P_DEFAULT, H5P_DEFAULT);
  });
  checked(what, [&] { return H5Awrite(attribute.get(), type.get(), stored.data()); });
}

void Hdf5File::write_attribute(const std::string& object, const std::string& name, uint64_t number) {
  const std::string what = str("write the attribute '", name, "'");
  const Hdf5Handle space = checked_handle(what, H5Sclose, [] { return H5Screate(H5S_SCALAR); });
  const std::string target = object.empty() ? "/" : object;
  const Hdf5Handle attribute = checked_handle(what, H5Aclose, [&] {
    return H5Acreate_by_name(file_.get(), target.c_str(), name.c_str(), H5T_STD_U64LE, space.get(), H5P_DEFAULT,
                             H5P_DEFAULT, H5P_DEFAULT);
  });
  checked(what, [&] { return H5Awrite(attribute.get(), H5T_STD_U64LE, &number); });
}

void Hdf5File::close() {
  checked("flush the file", [&] { return H5Fflush(file_.get(), H5F_SCOPE_GLOBAL); });
  checked("close the file", [&] { return file_.close(); });
}

bool Hdf5File::has(const std::string& name) const {
  for (size_t end = 0; end != std::string::npos;) {
    end = name.find('/', end + 1);
    const std::string part = name.substr(0, end);
    const htri_t found =
        checked(str("look up '", part, "'"), [&] { return H5Lexists(file_.get(), part.c_str(), H5P_DEFAULT); });
    if (found == 0) return false;
  }
  return true;
}

// Soft and external links could lead anywhere, into other files too.
void Hdf5File::check_links(const std::string& name) const {
  if (name.empty()) return;
  if (!has(name)) refuse(name, "is missing");
  for (size_t end = 0; end != std::string::npos;) {
    end = name.find('/', end + 1);
    const std::string part = name.substr(0, end);
    H5L_info_t info;
    checked(str("look up '", part, "'"), [&] { return H5Lget_info(file_.get(), part.c_str(), &info, H5P_DEFAULT); });
    if (info.type != H5L_TYPE_HARD) refuse(part, "is a soft or external link");
  }
}

std::vector<std::string> Hdf5File::children(const std::string& group) const {
  check_links(group);
  const std::string what = str("list '", printable(group), "'");
  const Hdf5Handle handle = checked_handle(
      what, H5Gclose, [&] { return H5Gopen2(file_.get(), group.empty() ? "/" : group.c_str(), H5P_DEFAULT); });
  H5G_info_t info;
  checked(what, [&] { return H5Gget_info(handle.get(), &info); });
  if (info.nlinks > kMaxChildren) refuse(group, str("has ", info.nlinks, " members"));
  std::vector<std::string> names;
  for (hsize_t i = 0; i < info.nlinks; ++i) {
    char name[1024];
    const ssize_t length = checked(what, [&] {
      return H5Lget_name_by_idx(handle.get(), ".", H5_INDEX_NAME, H5_ITER_INC, i, name, sizeof name, H5P_DEFAULT);
    });
    if (static_cast<size_t>(length) >= sizeof name) refuse(group, "has a member with too long a name");
    names.emplace_back(name, static_cast<size_t>(length));
  }
  std::sort(names.begin(), names.end());
  return names;
}

// Opens a data set and refuses everything but plain contiguous numbers of the type asked for.
Hdf5Handle Hdf5File::open_data_set(const std::string& name, int64_t type) const {
  check_links(name);
  const std::string what = str("open '", printable(name), "'");
  Hdf5Handle data = checked_handle(what, H5Dclose, [&] { return H5Dopen2(file_.get(), name.c_str(), H5P_DEFAULT); });
  const Hdf5Handle stored = checked_handle(what, H5Tclose, [&] { return H5Dget_type(data.get()); });
  if (checked(what, [&] { return H5Tequal(stored.get(), type); }) == 0)
    refuse(name, "has another element type than expected");
  const Hdf5Handle creation = checked_handle(what, H5Pclose, [&] { return H5Dget_create_plist(data.get()); });
  if (checked(what, [&] { return H5Pget_layout(creation.get()); }) != H5D_CONTIGUOUS) {
    refuse(name, "is not stored contiguously");
  }
  if (checked(what, [&] { return H5Pget_nfilters(creation.get()); }) != 0) refuse(name, "is stored through filters");
  if (checked(what, [&] { return H5Pget_external_count(creation.get()); }) != 0)
    refuse(name, "is stored in other files");
  return data;
}

std::vector<uint64_t> Hdf5File::shape_of(const std::string& name, const Hdf5Handle& data_set) const {
  const std::string what = str("read the shape of '", printable(name), "'");
  const Hdf5Handle space = checked_handle(what, H5Sclose, [&] { return H5Dget_space(data_set.get()); });
  if (checked(what, [&] { return H5Sget_simple_extent_type(space.get()); }) != H5S_SIMPLE)
    refuse(name, "is not an array");
  hsize_t extents[H5S_MAX_RANK];
  const int rank = checked(what, [&] { return H5Sget_simple_extent_dims(space.get(), extents, nullptr); });
  return {extents, extents + rank};
}

// Checks the shape against the bytes that really lie in the file, before anything is allocated for them.
Hdf5Extent Hdf5File::storage(const std::string& name, const Hdf5Handle& data_set) const {
  const std::string what = str("locate '", printable(name), "'");
  const Hdf5Handle type = checked_handle(what, H5Tclose, [&] { return H5Dget_type(data_set.get()); });
  uint64_t bytes = 0;
  {
    const std::lock_guard lock(library_mutex());
    bytes = H5Tget_size(type.get());
  }
  for (uint64_t extent : shape_of(name, data_set)) {
    if (__builtin_mul_overflow(bytes, extent, &bytes)) refuse(name, "has an impossible shape");
  }
  if (bytes == 0) return {};
  haddr_t offset = HADDR_UNDEF;
  {
    const std::lock_guard lock(library_mutex());
    offset = H5Dget_offset(data_set.get());
  }
  if (offset == HADDR_UNDEF || offset > file_size_ || bytes > file_size_ - offset) {
    refuse(name, str("needs ", bytes, " bytes that do not lie within the file's ", file_size_));
  }
  return {offset, bytes};
}

std::vector<uint64_t> Hdf5File::shape(const std::string& name) const {
  check_links(name);
  const Hdf5Handle data = checked_handle(str("open '", printable(name), "'"), H5Dclose,
                                         [&] { return H5Dopen2(file_.get(), name.c_str(), H5P_DEFAULT); });
  return shape_of(name, data);
}

template <class T>
std::vector<T> Hdf5File::read(const std::string& name, const std::vector<uint64_t>& shape) const {
  const Hdf5Handle data = open_data_set(name, stored_type<T>());
  const std::vector<uint64_t> found = shape_of(name, data);
  if (found != shape) {
    const std::vector<int64_t> got(found.begin(), found.end()), wanted(shape.begin(), shape.end());
    refuse(name, str("has the shape ", shape_text(got), ", expected ", shape_text(wanted)));
  }
  const Hdf5Extent extent = storage(name, data);
  std::vector<T> values(extent.size / sizeof(T));
  if (values.empty()) return values;
  checked(str("read '", printable(name), "'"),
          [&] { return H5Dread(data.get(), stored_type<T>(), H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()); });
  return values;
}

Hdf5Extent Hdf5File::bytes_extent(const std::string& name) const {
  const Hdf5Handle data = open_data_set(name, H5T_STD_U8LE);
  if (shape_of(name, data).size() != 1) refuse(name, "is not one-dimensional");
  return storage(name, data);
}

Hdf5Handle Hdf5File::open_attribute(const std::string& object, const std::string& name) const {
  check_links(object);
  const std::string what = str("open the attribute '", name, "'");
  const std::string target = object.empty() ? "/" : object;
  const htri_t found =
      checked(what, [&] { return H5Aexists_by_name(file_.get(), target.c_str(), name.c_str(), H5P_DEFAULT); });
  if (found == 0) refuse(target, str("lacks the attribute '", name, "'"));
  return checked_handle(what, H5Aclose, [&] {
    return H5Aopen_by_name(file_.get(), target.c_str(), name.c_str(), H5P_DEFAULT, H5P_DEFAULT);
  });
}

std::string Hdf5File::text_attribute(const std::string& object, const std::string& name) const {
  const Hdf5Handle attribute = open_attribute(object, name);
  const std::string what = str("read the attribute '", name, "'");
  const Hdf5Handle type = checked_handle(what, H5Tclose, [&] { return H5Aget_type(attribute.get()); });
  const Hdf5Handle space = checked_handle(what, H5Sclose, [&] { return H5Aget_space(attribute.get()); });
  const bool is_text = checked(what, [&] { return H5Tget_class(type.get()); }) == H5T_STRING &&
                       checked(what, [&] { return H5Tis_variable_str(type.get()); }) == 0;
  if (!is_text || checked(what, [&] { return H5Sget_simple_extent_npoints(space.get()); }) != 1) {
    refuse(name, "is not a text of fixed length");
  }
  const size_t size = static_cast<size_t>(checked(what, [&] { return static_cast<int64_t>(H5Tget_size(type.get())); }));
  if (size > kMaxText) refuse(name, str("has ", size, " bytes, at most ", kMaxText, " are allowed"));
  std::string text(size, '\0');
  checked(what, [&] { return H5Aread(attribute.get(), type.get(), text.data()); });
  text.resize(std::min(text.find('\0'), text.size()));
  return text;
}

uint64_t Hdf5File::number_attribute(const std::string& object, const std::string& name) const {
  const Hdf5Handle attribute = open_attribute(object, name);
  const std::string what = str("read the attribute '", name, "'");
  const Hdf5Handle type = checked_handle(what, H5Tclose, [&] { return H5Aget_type(attribute.get()); });
  const Hdf5Handle space = checked_handle(what, H5Sclose, [&] { return H5Aget_space(attribute.get()); });
  if (checked(what, [&] { return H5Tequal(type.get(), H5T_STD_U64LE); }) == 0 ||
      checked(what, [&] { return H5Sget_simple_extent_npoints(space.get()); }) != 1) {
    refuse(name, "is not one 64-bit number");
  }
  uint64_t number = 0;
  checked(what, [&] { return H5Aread(attribute.get(), H5T_STD_U64LE, &number); });
  return number;
}

#define SNELL_HDF5_TYPE(T)                                                            \
  template void Hdf5File::write<T>(const std::string&, std::span<const T>, uint64_t); \
  template std::vector<T> Hdf5File::read<T>(const std::string&, const std::vector<uint64_t>&) const
SNELL_HDF5_TYPE(uint8_t);
SNELL_HDF5_TYPE(uint32_t);
SNELL_HDF5_TYPE(uint64_t);
SNELL_HDF5_TYPE(int64_t);
SNELL_HDF5_TYPE(float);
SNELL_HDF5_TYPE(double);
#undef SNELL_HDF5_TYPE

}  // namespace snell::io
