// A file that changed after it was written is found, named and passed over.
#include <gmock/gmock.h>

#include "ckpt/support.h"
#include "snell/ckpt/checkpoint.h"
#include "snell/ckpt/manifest.h"
#include "snell/core/error.h"
#include "snell/core/hash.h"

namespace snell::ckpt {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

std::string save_step(const std::string& run, int64_t step) {
  dist::SelfControlPlane control;
  return save(run, make_state(step), control, {}).path;
}

// A manifest with a right checksum around any body.
std::string sealed(const std::string& body) {
  const std::string head = "{\n\"checksum\": \"";
  std::string text = head + std::string(32, '0') + "\"," + body.substr(body.find('{') + 1);
  return text.replace(head.size(), 32, core::hash128(text.data(), text.size()).hex());
}

std::string manifest_error(const std::string& text) {
  try {
    parse_manifest(text, "M");
  } catch (const core::WeightsError& error) {
    return error.what();
  }
  return "";
}

TEST(Damage, EveryFlippedBitOfTheManifestIsFound) {
  TempFolder run;
  std::string text = read_all(save_step(run.path(), 1) + "/manifest.json");
  ASSERT_EQ(manifest_error(text), "");
  for (size_t i = 0; i < text.size(); ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      text[i] = static_cast<char>(text[i] ^ (1 << bit));
      ASSERT_NE(manifest_error(text), "") << "byte " << i << ", bit " << bit;
      text[i] = static_cast<char>(text[i] ^ (1 << bit));
    }
  }
}

TEST(Damage, EveryFlippedBitOfAShardIsFound) {
  TempFolder run;
  const std::string folder = save_step(run.path(), 1);
  const Manifest manifest = read_manifest(folder);
  const std::string path = shards_in(folder)[0];
  std::string bytes = read_all(path);
  for (size_t i = 0; i < bytes.size(); ++i) {
    const int bit = static_cast<int>(i % 8);
    bytes[i] = static_cast<char>(bytes[i] ^ (1 << bit));
    write_all(path, bytes);
    ASSERT_THROW(verify_files(folder, manifest), core::WeightsError) << "byte " << i;
    bytes[i] = static_cast<char>(bytes[i] ^ (1 << bit));
  }
  write_all(path, bytes);
  EXPECT_NO_THROW(verify_files(folder, manifest));
}

TEST(Damage, ACutFileOfAnyLengthIsFound) {
  TempFolder run;
  const std::string folder = save_step(run.path(), 1);
  const Manifest manifest = read_manifest(folder);
  const std::string path = shards_in(folder)[0];
  for (const auto size : {fs::file_size(path) - 1, uintmax_t{9}, uintmax_t{0}}) {
    fs::resize_file(path, size);
    EXPECT_THROW(verify_files(folder, manifest), core::WeightsError) << size;
  }
  const std::string text = read_all(folder + "/manifest.json");
  for (size_t size = 0; size < text.size(); size += 7) EXPECT_NE(manifest_error(text.substr(0, size)), "") << size;
}

// What each kind of damage does to the newest of two.
TEST(Damage, TheNextOlderOneIsTaken) {
  const std::vector<std::pair<const char*, std::function<void(const std::string&)>>> kinds = {
      {"shard flipped",
       [](const std::string& folder) {
         std::string bytes = read_all(shards_in(folder)[0]);
         bytes[bytes.size() / 2] ^= 1;
         write_all(shards_in(folder)[0], bytes);
       }},
      {"shard gone", [](const std::string& folder) { fs::remove(shards_in(folder)[0]); }},
      {"shard cut", [](const std::string& folder) { fs::resize_file(shards_in(folder)[0], 100); }},
      {"shard is a folder",
       [](const std::string& folder) {
         const std::string path = shards_in(folder)[0];
         fs::remove(path);
         fs::create_directory(path);
       }},
      {"manifest gone", [](const std::string& folder) { fs::remove(folder + "/manifest.json"); }},
      {"manifest empty", [](const std::string& folder) { fs::resize_file(folder + "/manifest.json", 0); }},
      {"everything gone",
       [](const std::string& folder) {
         fs::remove_all(folder);
         fs::create_directory(folder);
       }},
  };
  for (const auto& [name, damage] : kinds) {
    SCOPED_TRACE(name);
    TempFolder run;
    dist::SelfControlPlane control;
    const std::string older = save_step(run.path(), 1);
    const std::string newest = save_step(run.path(), 2);
    damage(newest);
    ::testing::internal::CaptureStderr();
    EXPECT_EQ(find_latest(run.path(), control), older);
    EXPECT_THAT(::testing::internal::GetCapturedStderr(), HasSubstr(newest)) << "the warning names it";
    damage(older);
    try {
      find_latest(run.path(), control);
      ADD_FAILURE() << "no error";
    } catch (const core::Error& error) {
      EXPECT_EQ(error.exit_code(), core::ExitCode::kWeights);
      EXPECT_THAT(error.what(), HasSubstr("none of the 2 checkpoints"));
    }
  }
}

TEST(Damage, AllRanksStopAlikeWhenOneReadsDamage) {
  TempFolder run;
  with_ranks(2, [&](dist::ControlPlane& control) { save(run.path(), make_state(3), control, {}); });
  const std::string folder = run.path() + "/checkpoints/step-0000000003";
  std::string bytes = read_all(shards_in(folder)[1]);
  bytes.back() ^= 1;
  write_all(shards_in(folder)[1], bytes);
  std::atomic<int> thrown = 0;
  with_ranks(4, [&](dist::ControlPlane& control) {
    auto blanks = blank_like(make_state(3));
    try {
      load(folder, blanks, control);
    } catch (const core::Error& error) {
      thrown += error.exit_code() == core::ExitCode::kWeights;
    }
  });
  EXPECT_EQ(thrown, 4);
}

TEST(Damage, HostileManifestsAreRefusedInWords) {
  const auto base = nlohmann::json::parse(manifest_text(Manifest{}));
  const auto with = [&](const char* pointer, const nlohmann::json& value) {
    nlohmann::json body = base;
    body.erase("checksum");
    body[nlohmann::json::json_pointer(pointer)] = value;
    return manifest_error(sealed(body.dump()));
  };
  EXPECT_EQ(with("/step", 7), "");
  EXPECT_THAT(with("/version", 2), HasSubstr("format version 2"));
  EXPECT_THAT(with("/format", "other"), HasSubstr("not a checkpoint"));
  EXPECT_THAT(with("/step", -1), HasSubstr("'step' must be a whole number"));
  EXPECT_THAT(with("/step", 1e300), HasSubstr("'step' must be a whole number"));
  EXPECT_THAT(with("/step", uint64_t{1} << 63), HasSubstr("'step' must be a whole number"));
  EXPECT_THAT(with("/epoch", "3"), HasSubstr("'epoch' must be a whole number"));
  EXPECT_NE(with("/files", {{"../up", {{"bytes", 1}, {"xxh3_128", ""}}}}), "");
  EXPECT_NE(with("/files", {{"/etc/passwd", {{"bytes", 1}, {"xxh3_128", ""}}}}), "");
  EXPECT_NE(with("/files", {{"..", {{"bytes", 1}, {"xxh3_128", ""}}}}), "");
  EXPECT_NE(with("/files", {{"a", {{"bytes", INT64_MAX}, {"xxh3_128", ""}}}, {"b", {{"bytes", 1}, {"xxh3_128", ""}}}}),
            "");
  EXPECT_NE(with("/tensors", {{"t", {{"file", "elsewhere"}, {"dtype", "F32"}, {"shape", {1}}, {"xxh3_128", ""}}}}), "");
  EXPECT_NE(with("/files", 3), "");
  EXPECT_NE(with("/tensors", {1, 2}), "");
  EXPECT_NE(with("/is_best", 1), "");
  EXPECT_THAT(manifest_error(sealed("{\"extra\": " + std::string(1000000, '[') + std::string(1000000, ']') + "}")),
              HasSubstr("nested deeper"));
  EXPECT_NE(manifest_error(sealed("{}")), "");
  EXPECT_NE(manifest_error(sealed("{\"step\": ")), "");
}

}  // namespace
}  // namespace snell::ckpt
