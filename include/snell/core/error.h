// The project's exceptions and the exit code that each one becomes. main() is the only place that catches them all.
#pragma once

#include <source_location>
#include <stdexcept>
#include <string>

#include "snell/core/text.h"

namespace snell::core {

// Documented in docs/exit-codes.md; batch scripts rely on them.
enum class ExitCode : int {
  kOk = 0,
  kInternal = 1,
  kConfig = 2,
  kData = 3,
  kWeights = 4,
  kNonFinite = 5,
  kReplicasDiffer = 6,
  kDisk = 75,
  kRequeue = 85,
  kWatchdog = 124,
};

// Anything that went wrong inside: carries the place in the source.
class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& message, std::source_location where = std::source_location::current())
      : Error(ExitCode::kInternal, message, where) {}

  ExitCode exit_code() const { return exit_code_; }
  // "file.cpp:12"; for the log, not for the user of a ConfigError.
  const std::string& where() const { return where_; }

 protected:
  Error(ExitCode code, const std::string& message, std::source_location where);

 private:
  ExitCode exit_code_;
  std::string where_;
};

// One class an exit code that a user can mend. The message names the thing, the place, what was expected, what to do.
#define SNELL_DEFINE_ERROR(NAME, CODE)                                                                      \
  class NAME : public Error {                                                                               \
   public:                                                                                                  \
    explicit NAME(const std::string& message, std::source_location where = std::source_location::current()) \
        : Error(ExitCode::CODE, message, where) {}                                                          \
  }

SNELL_DEFINE_ERROR(ConfigError, kConfig);           // a setting or the command line
SNELL_DEFINE_ERROR(DataError, kData);               // a data set: source folders, HDF5 files, images
SNELL_DEFINE_ERROR(WeightsError, kWeights);         // a weight file or a checkpoint
SNELL_DEFINE_ERROR(NonFiniteError, kNonFinite);     // loss or gradient norm is NaN or infinite
SNELL_DEFINE_ERROR(ReplicaError, kReplicasDiffer);  // ranks hold different trainable parameters
SNELL_DEFINE_ERROR(DiskError, kDisk);               // writing failed: disk full, quota, no permission
#undef SNELL_DEFINE_ERROR

// An invariant of the program itself: throws Error with the place when it does not hold.
inline void check(bool holds, const std::string& message,
                  std::source_location where = std::source_location::current()) {
  if (!holds) [[unlikely]]
    throw Error(message, where);
}

}  // namespace snell::core
