// How much memory it takes to copy a file's tensors one after the other into a model: the model, and little more.
// Mapped pages count as the process's memory (VmHWM), so a reader that keeps them takes twice the file's size.
#include <gtest/gtest.h>
#include <malloc.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zip.h>

#include <cstdio>
#include <fstream>
#include <functional>

#include "snell/core/error.h"
#include "snell/io/tensor_source.h"
#include "support/scratch.h"
#include "torch_writer.h"

namespace snell::io {

using test::Scratch;

namespace {

constexpr size_t kTensors = 64, kFloats = 512 << 10;  // of 2 MiB, 1.6 %; the largest tensor of ViT-H is 1 % of its file
namespace pickle = test::pickle;

std::string content(size_t number) {
  std::string out(4 * kFloats, '\0');
  uint64_t state = number + 1;
  for (char& c : out) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    c = static_cast<char>(state >> 60);  // four random bits a byte: deflate halves it
  }
  return out;
}

std::string npy(size_t number) {
  const std::string dictionary = core::str("{'descr': '<f4', 'fortran_order': False, 'shape': (", kFloats, ",), }\n");
  return std::string("\x93NUMPY\1\0", 8) + test::le(static_cast<uint16_t>(dictionary.size())) + dictionary +
         content(number);
}

void write_zip(const std::string& path, bool deflate) {
  int code = 0;
  zip_t* archive = zip_open(path.c_str(), ZIP_CREATE, &code);
  std::vector<std::string> arrays;
  for (size_t i = 0; i < kTensors; ++i) arrays.push_back(npy(i));
  for (size_t i = 0; i < kTensors; ++i) {
    zip_source_t* source = zip_source_buffer(archive, arrays[i].data(), arrays[i].size(), 0);
    const zip_int64_t index = zip_file_add(archive, core::str("w", i, ".npy").c_str(), source, 0);
    zip_set_file_compression(archive, static_cast<zip_uint64_t>(index), deflate ? ZIP_CM_DEFLATE : ZIP_CM_STORE, 1);
  }
  if (zip_close(archive) != 0) std::abort();
}

std::string state_dict() {
  std::string items;
  for (size_t i = 0; i < kTensors; ++i) {
    const auto storage = pickle::storage(std::to_string(i), kFloats);
    items += pickle::text(core::str("w", i)) + pickle::tensor(storage, 0, {kFloats}, {1});
  }
  return pickle::dict({items});
}

void write_torch(const std::string& path) {
  test::ZipWriter zip;
  zip.add("a/data.pkl", pickle::whole(state_dict()));
  for (size_t i = 0; i < kTensors; ++i) zip.add(core::str("a/data/", i), content(i), 64);
  std::ofstream(path, std::ios::binary) << zip.finish();
}

void write_legacy(const std::string& path) {
  const std::string one = test::torch_legacy(state_dict(), "", kFloats);
  std::string keys;
  for (size_t i = 0; i < kTensors; ++i) keys += pickle::text(std::to_string(i));
  std::ofstream out(path, std::ios::binary);
  out << one.substr(0, one.rfind("\x80\x02](")) << pickle::whole("](" + keys + "e");
  for (size_t i = 0; i < kTensors; ++i) out << test::le(static_cast<int64_t>(kFloats)) << content(i);
}

void write_plain(const std::string& path) {
  std::vector<std::string> contents;
  std::vector<std::pair<std::string, HostTensor>> tensors;
  for (size_t i = 0; i < kTensors; ++i) contents.push_back(content(i));
  for (size_t i = 0; i < kTensors; ++i) {
    tensors.push_back({core::str("w", i), {DType::kF32, {kFloats}, std::as_bytes(std::span(contents[i])), nullptr}});
  }
  write_safetensors(path, tensors);
}

// A line of /proc/self/status, in bytes.
int64_t status(const std::string& key) {
  std::ifstream in("/proc/self/status");
  for (std::string word; in >> word;) {
    int64_t kilobytes = 0;
    if (word == key + ":" && in >> kilobytes) return 1024 * kilobytes;
  }
  std::abort();
}

// What is resident now; VmHWM starts anew from here.
int64_t start_measuring() {
  ::malloc_trim(0);  // or what the parent has freed would be used again, unseen
  std::ofstream("/proc/self/clear_refs") << 5;
  return status("VmRSS");
}

// Runs `work` in a process of its own, which must end well.
void in_child(const std::function<void()>& work) {
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    work();
    ::_exit(0);
  }
  int result = -1;
  ASSERT_EQ(::waitpid(child, &result, 0), child);
  ASSERT_EQ(result, 0);
}

// Peak above the start, in units of the model's size, of listing the tensors and of copying them all.
void measure(const std::string& path, const std::string& report) {
  const int64_t start = start_measuring();
  const auto peak = [start] { return static_cast<double>(status("VmHWM") - start) / (4.0 * kTensors * kFloats); };
  std::ofstream out(report);
  std::vector<std::vector<std::byte>> model;
  {
    const auto source = open_tensors(path);
    for (const std::string& name : source->names()) source->describe(name);
    out << peak() << " ";
    for (const std::string& name : source->names()) {
      const HostTensor tensor = source->read(name);
      model.emplace_back(tensor.bytes.begin(), tensor.bytes.end());
    }
  }
  out << peak();
}

}  // namespace

TEST(Memory, LoadingTakesLittleMoreThanTheModelAndListingAlmostNothing) {
  const std::vector<std::pair<const char*, std::function<void(const std::string&)>>> formats{
      {"safetensors", write_plain},
      {"torch (zip)", write_torch},
      {"torch (legacy)", write_legacy},
      {"npz, stored", [](const std::string& path) { write_zip(path, false); }},
      {"npz, deflated", [](const std::string& path) { write_zip(path, true); }}};
  const Scratch scratch;
  for (const auto& [format, write] : formats) {
    in_child([&] { write(scratch / "file"); });
    in_child([&] { measure(scratch / "file", scratch / "report"); });
    double listing = 0, loading = 0;
    std::ifstream(scratch / "report") >> listing >> loading;
    std::printf("%-15s listing %.3f, loading %.3f x the model's %zu MiB\n", format, listing, loading,
                4 * kTensors * kFloats >> 20);
    EXPECT_LE(listing, 0.1) << format;
    EXPECT_GE(loading, 1.0) << format;
    EXPECT_LE(loading, 1.1) << format;
    std::filesystem::remove(scratch / "file");
  }
}

static std::string safetensors_of(const std::string& header) {
  return test::le(static_cast<uint64_t>(header.size())) + header;
}

static std::string repeat(size_t count, const std::function<std::string(size_t)>& part) {
  std::string out;
  for (size_t i = 0; i < count; ++i) out += part(i);
  return out;
}

static std::string legacy_of(const std::string& value) {
  return test::torch_legacy(value, "", 0);
}

// 30,000 tensors that share a shape of 32 dimensions.
static std::string many_dimensions() {
  const std::string shape = pickle::numbers(std::vector<int64_t>(32, 1)) + "q\1" + "0";
  const std::string storage = pickle::storage("0", 0) + "q\2" + "0";
  const std::string rebuild = pickle::global("torch._utils", "_rebuild_tensor_v2") + "q\3" + "0";
  return shape + storage + rebuild + "}(" +
         repeat(30'000,
                [](size_t i) {
                  return pickle::text(std::to_string(i)) + "h\3(h\2K" + std::string(1, '\0') + "h\1h\1tR";
                }) +
         "u";
}

static std::string many_entries() {
  test::ZipWriter zip;
  for (size_t i = 0; i < 65'000; ++i) zip.add(core::str(i, ".npy"), "");
  return zip.finish();
}

// Entries of zeros: a thousand times smaller in the file.
static void write_bomb(const std::string& path, size_t floats) {
  const std::string dictionary =
      core::str("{'descr': '<f4', 'fortran_order': True, 'shape': (2, ", floats / 2, "), }\n");
  const std::string array = std::string("\x93NUMPY\1\0", 8) + test::le(static_cast<uint16_t>(dictionary.size())) +
                            dictionary + std::string(4 * floats, '\0');
  int code = 0;
  zip_t* archive = zip_open(path.c_str(), ZIP_CREATE | ZIP_TRUNCATE, &code);
  const auto index = zip_file_add(archive, "w.npy", zip_source_buffer(archive, array.data(), array.size(), 0), 0);
  zip_set_file_compression(archive, static_cast<zip_uint64_t>(index), ZIP_CM_DEFLATE, 1);
  if (zip_close(archive) != 0) std::abort();
}

// Whatever a file claims, reading it takes at most 4 × its size + 64 MB.
TEST(Memory, HostileFilesStayInTheBudget) {
  const auto text = [](const std::string& content) {
    return [content](const std::string& path) { test::spill(path, content); };
  };
  const std::string entry = R"({"dtype":"U8","shape":[0],"data_offsets":[0,0]})";
  const std::vector<std::pair<const char*, std::function<void(const std::string&)>>> files{
      {"a header of 200,000 tensors",
       text(safetensors_of("{" + repeat(200'000, [&](size_t i) { return core::str("\"", i, "\":", entry, ","); })))},
      {"a header of a million metadata",
       text(safetensors_of("{\"__metadata__\":{" +
                           repeat(1'000'000, [](size_t i) { return core::str("\"", i, "\":\"\","); })))},
      {"a header with a name of 90 MB", text(safetensors_of("{\"" + std::string(90'000'000, 'x')))},
      {"a header with ten texts of 8 MB",
       text(safetensors_of(
           "{\"__metadata__\":{" +
           repeat(10, [](size_t i) { return core::str("\"", i, "\":\"", std::string(8'000'000, 'x'), "\","); })))},
      {"a header of nested lists", text(safetensors_of("{\"a\":" + std::string(30'000'000, '[')))},
      {"an index of a million names",
       text("{\"weight_map\":{" + repeat(1'000'000, [](size_t i) { return core::str("\"", i, "\":\"\","); }))},
      {"a pickle of a million nodes", text(legacy_of("(" + std::string(1'000'000, 'N') + "t"))},
      {"a pickle of a million memos", text(legacy_of("N" + std::string(1'000'000, '\x94')))},
      {"a pickle of tuples of what it remembers",
       text(legacy_of(
           "Nq\1" +
           repeat(30, [](size_t) { return "(" + repeat(60'000, [](size_t) { return std::string("h\1"); }) + "t"; })))},
      {"a pickle of many dimensions", text(legacy_of(many_dimensions()))},
      {"an archive of 65,000 entries", text(many_entries())},
      {"an archive of 400 MB of zeros", [](const std::string& path) { write_bomb(path, 100'000'000); }},
      {"an archive of 12 MB of zeros", [](const std::string& path) { write_bomb(path, 3'000'000); }},
  };
  const Scratch scratch;
  for (const auto& [what, write] : files) {
    in_child([&] { write(scratch / "file"); });
    in_child([&] {
      const int64_t start = start_measuring();
      try {
        open_tensors(scratch / "file")->verify();
      } catch (const core::WeightsError&) {
      }
      std::ofstream(scratch / "report") << status("VmHWM") - start;
    });
    const auto size = static_cast<double>(std::filesystem::file_size(scratch / "file"));
    const double peak = std::stod(test::slurp(scratch / "report"));
    std::printf("%-40s %6.1f MB, peak %6.1f MB\n", what, size / 1e6, peak / 1e6);
    EXPECT_LE(peak, 4 * size + (64 << 20)) << what;
  }
}

}  // namespace snell::io
