#include "snell/core/stacks.h"

#include <execinfo.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <set>
#include <string>

#include "own_symbols.h"

namespace snell::core {
namespace {

constexpr int kSignal = SIGURG;
constexpr size_t kMaxThreads = 256, kMaxFrames = 48;

// What a thread answers. Each has a slot of its own: one that answers late does not write into another's.
struct Answer {
  std::atomic<long> thread;
  std::array<void*, kMaxFrames> frames;
  int count;
  std::atomic<bool> done;
};
std::array<Answer, kMaxThreads> g_answers;

extern "C" void snell_answer_with_stack(int) {
  const int saved = errno;
  const long self = ::syscall(SYS_gettid);
  for (Answer& answer : g_answers) {
    if (answer.thread.load(std::memory_order_acquire) != self || answer.done.load(std::memory_order_relaxed)) continue;
    answer.count = ::backtrace(answer.frames.data(), kMaxFrames);
    answer.done.store(true, std::memory_order_release);
    break;
  }
  errno = saved;
}

void put(int fd, const char* text, size_t length) {
  while (length > 0) {
    const ssize_t written = ::write(fd, text, length);
    if (written <= 0) return;
    text += written;
    length -= static_cast<size_t>(written);
  }
}

void put(int fd, const char* text) {
  put(fd, text, std::strlen(text));
}

// The first line of /proc/self/task/<thread>/<name>.
void put_task_file(int fd, long thread, const char* name) {
  std::array<char, 64> path{}, text{};
  std::snprintf(path.data(), path.size(), "/proc/self/task/%ld/%s", thread, name);
  const int file = ::open(path.data(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return;
  const ssize_t length = ::read(file, text.data(), text.size());
  ::close(file);
  if (length <= 0) return;
  const auto* end = static_cast<const char*>(std::memchr(text.data(), '\n', static_cast<size_t>(length)));
  put(fd, text.data(), end != nullptr ? static_cast<size_t>(end - text.data()) : static_cast<size_t>(length));
}

void put_stack(int fd, long thread, Answer& answer) {
  answer.done.store(false, std::memory_order_relaxed);
  answer.thread.store(thread, std::memory_order_release);
  std::array<char, 64> line{};
  std::snprintf(line.data(), line.size(), "thread %ld (", thread);
  put(fd, line.data());
  put_task_file(fd, thread, "comm");
  put(fd, ")");
  if (::syscall(SYS_tgkill, ::getpid(), thread, kSignal) != 0) {
    put(fd, ": has ended\n");
    return;
  }
  for (int look = 0; look < 500 && !answer.done.load(std::memory_order_acquire); ++look) {
    const timespec pause{0, 1'000'000};
    ::nanosleep(&pause, nullptr);
  }
  if (!answer.done.load(std::memory_order_acquire)) {
    put(fd, ": does not answer; the kernel has it in ");
    put_task_file(fd, thread, "wchan");
    put(fd, "\n");
    return;
  }
  put(fd, "\n");
  ::backtrace_symbols_fd(answer.frames.data(), answer.count, fd);
}

}  // namespace

void prepare_stacks() {
  void* frame = nullptr;
  ::backtrace(&frame, 1);  // the first call loads libgcc, which a handler must not
  struct sigaction action = {};
  action.sa_handler = snell_answer_with_stack;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  sigaction(kSignal, &action, nullptr);
}

void write_stacks(int fd) noexcept {
  // getdents64 itself, since opendir() allocates.
  struct Entry {
    uint64_t inode;
    int64_t offset;
    uint16_t length;
    uint8_t type;
    char name[1];
  };
  const int tasks = ::open("/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (tasks < 0) return;
  const long self = ::syscall(SYS_gettid);
  alignas(Entry) std::array<char, 4096> buffer;
  size_t slot = 0;
  for (long length = 0; (length = ::syscall(SYS_getdents64, tasks, buffer.data(), buffer.size())) > 0;) {
    for (long at = 0; at < length;) {
      const auto* entry = reinterpret_cast<const Entry*>(buffer.data() + at);
      at += entry->length;
      const long thread = std::strtol(entry->name, nullptr, 10);
      if (thread > 0 && thread != self && slot < kMaxThreads) put_stack(fd, thread, g_answers[slot++]);
    }
  }
  ::close(tasks);
}

void write_own_names(int fd) noexcept {
  try {
    std::set<const void*> addresses;
    for (const Answer& answer : g_answers) {
      if (!answer.done.load(std::memory_order_acquire)) continue;
      addresses.insert(answer.frames.begin(), answer.frames.begin() + answer.count);
    }
    const OwnSymbols symbols;
    for (const void* address : addresses) {
      const std::string name = symbols.name(address);
      if (name.empty()) continue;
      std::array<char, 32> text{};
      std::snprintf(text.data(), text.size(), "[%p] ", address);
      put(fd, (text.data() + name + "\n").c_str());
    }
  } catch (...) {  // the stacks themselves are written
  }
}

}  // namespace snell::core
