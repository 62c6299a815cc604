// Logging with the rank in every line. glog writes it; its header stays in log.cpp, because its LOG and CHECK macros
// clash with LibTorch's.
#pragma once

#include <source_location>
#include <string>

namespace snell::core {

struct LogOptions {
  int rank = 0;
  std::string folder;  // log files <folder>/rank-<rank>.{INFO,WARNING,ERROR}*; empty: none
  bool info_to_stderr =
      false;  // also show INFO on stderr (WARNING and worse are always shown, by rank 0 or with a rank)
};

// Once a process, before the first line; a second call changes rank and folder.
void start_logging(const std::string& program, const LogOptions& options);
void flush_logs();

void log_info(const std::string& message, std::source_location where = std::source_location::current());
void log_warning(const std::string& message, std::source_location where = std::source_location::current());
void log_error(const std::string& message, std::source_location where = std::source_location::current());

}  // namespace snell::core
