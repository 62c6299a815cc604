#include "snell/core/log.h"

#include <glog/logging.h>

#include <filesystem>
#include <mutex>

#include "snell/core/text.h"

namespace snell::core {

static int g_rank = 0;  // only for the prefix of a line; nothing decides by it

void start_logging(const std::string& program, const LogOptions& options) {
  static std::once_flag once;
  static std::string name;  // glog keeps the pointer
  g_rank = options.rank;
  std::call_once(once, [&] {
    name = program;
    FLAGS_logtostderr = false;
    google::InitGoogleLogging(name.c_str());
  });
  FLAGS_stderrthreshold = options.info_to_stderr ? google::GLOG_INFO : google::GLOG_WARNING;
  FLAGS_colorlogtostderr = false;
  const bool to_files = !options.folder.empty();
  if (to_files) std::filesystem::create_directories(options.folder);
  for (auto [severity, label] : {std::pair{google::GLOG_INFO, "INFO"}, std::pair{google::GLOG_WARNING, "WARNING"},
                                 std::pair{google::GLOG_ERROR, "ERROR"}}) {
    google::SetLogSymlink(severity, "");
    google::SetLogDestination(severity,
                              to_files ? str(options.folder, "/rank-", options.rank, ".", label, ".").c_str() : "");
  }
  google::SetLogDestination(google::GLOG_FATAL, "");
}

void flush_logs() {
  google::FlushLogFiles(google::GLOG_INFO);
}

static void write(google::LogSeverity severity, const std::string& message, const std::source_location& where) {
  google::LogMessage(where.file_name(), static_cast<int>(where.line()), severity).stream()
      << "[rank " << g_rank << "] " << message;
}

void log_info(const std::string& message, std::source_location where) {
  write(google::GLOG_INFO, message, where);
}
void log_warning(const std::string& message, std::source_location where) {
  write(google::GLOG_WARNING, message, where);
}
void log_error(const std::string& message, std::source_location where) {
  write(google::GLOG_ERROR, message, where);
}

}  // namespace snell::core
