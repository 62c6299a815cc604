#include "row_process.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

#include "snell/core/error.h"

namespace snell::apps {
namespace {

using core::str;

struct Pipe {
  io::FileDescriptor out, in;  // read from, write to
};

// Closed in other rows' processes, or these would keep each other's pipes open.
Pipe make_pipe() {
  int ends[2];
  core::check(::pipe2(ends, O_CLOEXEC) == 0, str("no pipe: ", std::strerror(errno)));
  return {io::FileDescriptor(ends[0]), io::FileDescriptor(ends[1])};
}

pid_t start_self(const std::vector<std::string>& arguments, int standard_input, int standard_output) {
  std::vector<char*> argv{const_cast<char*>("snell")};
  for (const auto& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  posix_spawn_file_actions_t files;
  ::posix_spawn_file_actions_init(&files);
  ::posix_spawn_file_actions_adddup2(&files, standard_input, STDIN_FILENO);
  ::posix_spawn_file_actions_adddup2(&files, standard_output, STDOUT_FILENO);
  pid_t pid = -1;
  const int error = ::posix_spawn(&pid, "/proc/self/exe", &files, nullptr, argv.data(), environ);
  ::posix_spawn_file_actions_destroy(&files);
  core::check(error == 0, str("a second process of this program does not start: ", std::strerror(error)));
  return pid;
}

int wait_for_end(pid_t pid) {
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}

}  // namespace

RowProcess::RowProcess(std::string name, const std::vector<std::string>& arguments) : name_(std::move(name)) {
  std::signal(SIGPIPE, SIG_IGN);  // a request to a dead process is an error like others
  Pipe requests = make_pipe(), answers = make_pipe();
  pid_ = start_self(arguments, requests.out.get(), answers.in.get());
  requests_ = std::move(requests.in);
  answers_ = std::move(answers.out);
}

RowProcess::~RowProcess() {
  if (pid_ < 0) return;
  ::kill(pid_, SIGTERM);  // it has nothing to save, and may be in the middle of a long step
  wait_for_end(pid_);
}

nlohmann::json RowProcess::receive() {
  size_t end = unread_.find('\n');
  while (end == std::string::npos) {
    char buffer[4096];
    const ssize_t got = ::read(answers_.get(), buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) throw_death();
    unread_.append(buffer, static_cast<size_t>(got));
    end = unread_.find('\n');
  }
  auto answer = nlohmann::json::parse(unread_.substr(0, end));
  unread_.erase(0, end + 1);
  ++num_answers_;
  return answer;
}

nlohmann::json RowProcess::ask(const std::string& request) {
  const std::string line = request + "\n";
  // Shorter than a pipe's buffer: written whole, or not at all.
  if (::write(requests_.get(), line.data(), line.size()) != static_cast<ssize_t>(line.size())) throw_death();
  return receive();
}

void RowProcess::throw_death() {
  const int status = wait_for_end(pid_);
  pid_ = -1;
  const std::string when = num_answers_ == 0   ? "while its model was made"
                           : num_answers_ == 1 ? "in its first step"
                                               : str("in its step ", num_answers_);
  if (WIFSIGNALED(status)) {
    const int signal = WTERMSIG(status);
    throw RowDied(
        str("the process of row '", name_, "' was ended by signal ", signal, " (", ::strsignal(signal), ") ", when,
            signal == SIGKILL ? "; the system does that where memory runs out: name fewer rows with rows=, or "
                                "a smaller data.batch_size"
                              : ""),
        static_cast<int>(core::ExitCode::kInternal));
  }
  const int code = WEXITSTATUS(status);
  throw RowDied(
      str("the process of row '", name_, "' ended with exit code ", code, " ", when, "; its own message stands above"),
      code != 0 ? code : static_cast<int>(core::ExitCode::kInternal));
}

}  // namespace snell::apps
