// A scratch folder for a test, the bytes of a file, and files with a mutated byte.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "snell/core/random.h"
#include "snell/core/text.h"

namespace snell::test {

class Scratch {
 public:
  Scratch() {
    const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
    folder_ = std::filesystem::temp_directory_path() /
              core::str("snell-", ::getpid(), "-", test->test_suite_name(), "-", test->name());
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  ~Scratch() { std::filesystem::remove_all(folder_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  std::string operator/(const std::string& name) const { return (folder_ / name).string(); }
  std::string path() const { return folder_.string(); }

 private:
  std::filesystem::path folder_;
};

inline std::string slurp(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

inline void spill(const std::string& path, const std::string& content) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::filesystem::remove(path);  // ext4 flushes a file that is truncated and written again: slow in a loop
  std::ofstream(path, std::ios::binary) << content;
}

// `content` with one to four bytes changed, or cut off: what a reader must survive. The same for the same `number`.
inline std::string mutated(std::string content, uint32_t number) {
  core::RandomStream random({1, core::Purpose::kTest, number, 0, 0});
  if (random.below(16) == 0) return content.substr(0, random.below(static_cast<uint32_t>(content.size())));
  const uint32_t changes = 1 + random.below(4);
  for (uint32_t i = 0; i < changes; ++i) {
    // Half of the changes near the start, where the headers are.
    const uint32_t span = static_cast<uint32_t>(content.size());
    const uint32_t at = random.below(random.below(2) == 0 ? std::min(span, 512u) : span);
    content[at] = static_cast<char>(random.below(256));
  }
  return content;
}

// The message of the exception of class E that `call` must throw.
template <class E, class Call>
std::string message_of(const Call& call) {
  try {
    call();
  } catch (const E& error) {
    return error.what();
  } catch (const std::exception& error) {
    ADD_FAILURE() << "another exception: " << error.what();
    return "";
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

}  // namespace snell::test
