#include "snell/core/signals.h"

#include <csignal>
#include <initializer_list>

namespace snell::core {

static volatile std::sig_atomic_t g_stop_signal = 0;

extern "C" void snell_note_signal(int signal) {
  g_stop_signal = signal;
}

void catch_signals() {
  struct sigaction action = {};
  action.sa_handler = snell_note_signal;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  for (int signal : {SIGUSR1, SIGUSR2, SIGTERM, SIGINT}) sigaction(signal, &action, nullptr);
}

int stop_signal() {
  return g_stop_signal;
}
void clear_stop_signal() {
  g_stop_signal = 0;
}

}  // namespace snell::core
