#include "launcher.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace snell::dist {
namespace {

bool is_launcher(pid_t process) {
  std::array<char, 64> path{}, name{};
  std::snprintf(path.data(), path.size(), "/proc/%d/comm", process);
  const int file = ::open(path.data(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return false;
  const ssize_t length = ::read(file, name.data(), name.size());
  ::close(file);
  if (length <= 1) return false;
  constexpr std::array<std::string_view, 6> kNames = {"mpirun", "mpiexec", "orterun", "orted", "prterun", "prted"};
  return std::find(kNames.begin(), kNames.end(), std::string_view(name.data(), static_cast<size_t>(length - 1))) !=
         kNames.end();
}

// Whether the process ends within so many milliseconds.
bool ends_within(int handle, int ms) {
  pollfd one{handle, POLLIN, 0};
  return ::poll(&one, 1, ms) > 0;
}

void leave_exit_code(int code) {
  const char* path = std::getenv("SNELL_EXIT_CODE_FILE");
  if (path == nullptr || *path == '\0') return;
  const int file = ::open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);  // made by who wants to know
  if (file < 0) return;
  ::dprintf(file, "%d\n", code);
  ::close(file);
}

}  // namespace

void end_launcher_later(double grace_s, int exit_code) noexcept {
  leave_exit_code(exit_code);
  const pid_t parent = ::getppid();
  if (!is_launcher(parent)) return;
  const auto handle = static_cast<int>(::syscall(SYS_pidfd_open, parent, 0));  // never another process of that number
  if (handle < 0 || ::getppid() != parent) return;
  // The bare call: fork() takes the allocator's locks, which the thread that hangs may hold.
  if (::syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0) != 0) return;
  ::setsid();
  // The launcher waits for the end of this process's output.
  for (int fd = 0; fd < 4096; ++fd) {
    if (fd != handle) ::close(fd);
  }
  if (!ends_within(handle, static_cast<int>(grace_s * 1000))) {
    ::syscall(SYS_pidfd_send_signal, handle, SIGKILL, nullptr, 0);
  }
  ::_exit(0);
}

}  // namespace snell::dist
