// A folder of config files that lives as long as the object.
#pragma once

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "snell/config/compose.h"
#include "snell/core/error.h"

namespace snell::config {

class TempConfigs {
 public:
  TempConfigs() {
    std::string pattern = (std::filesystem::temp_directory_path() / "snell_config_XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
  }
  ~TempConfigs() { std::filesystem::remove_all(folder_); }
  TempConfigs(const TempConfigs&) = delete;
  TempConfigs& operator=(const TempConfigs&) = delete;

  void write(const std::string& name, const std::string& text) {
    auto file = folder_ / (name + ".yaml");
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  ConfigSearchPath path() const { return {{folder_}}; }

  // The error's text with the folder's name left out, or "no error".
  std::string error_of(const std::vector<std::string>& overrides = {}, const std::string& primary = "config") const {
    try {
      compose(path(), primary, overrides);
    } catch (const core::ConfigError& error) {
      std::string text = error.what(), folder = folder_.string() + "/";
      for (size_t at; (at = text.find(folder)) != std::string::npos;) text.erase(at, folder.size());
      return text;
    }
    return "no error";
  }

 private:
  std::filesystem::path folder_;
};

}  // namespace snell::config
