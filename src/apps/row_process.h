// A second process of this program that works when it is asked to: one row of `snell bench step`.
#pragma once

#include <sys/types.h>

#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "snell/io/files.h"

namespace snell::apps {

// A row's process that is no more. `exit_code`: its own, or 1 when a signal ended it.
struct RowDied : std::runtime_error {
  RowDied(const std::string& message, int code) : std::runtime_error(message), exit_code(code) {}
  int exit_code;
};

// Lines of JSON over two pipes; between requests the process sleeps in a read. Its messages go to this process's
// standard error. It ends with this object, and by itself when this process is gone.
class RowProcess {
 public:
  // Starts this program with `arguments`. `name`: for messages.
  RowProcess(std::string name, const std::vector<std::string>& arguments);
  ~RowProcess();
  RowProcess(const RowProcess&) = delete;
  RowProcess& operator=(const RowProcess&) = delete;

  const std::string& name() const { return name_; }
  // The next answer. Throws RowDied.
  nlohmann::json receive();
  // Sends a line, and gives the answer. Throws RowDied.
  nlohmann::json ask(const std::string& request);

 private:
  [[noreturn]] void throw_death();

  std::string name_;
  pid_t pid_ = -1;
  io::FileDescriptor requests_, answers_;
  std::string unread_;
  int64_t num_answers_ = 0;
};

}  // namespace snell::apps
