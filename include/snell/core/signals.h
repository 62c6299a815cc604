// Signals as flags that the loop looks at between steps; nothing else happens in a handler.
#pragma once

namespace snell::core {

// Installs handlers for SIGUSR1, SIGUSR2 (save and requeue), SIGTERM and SIGINT (save and stop). Idempotent.
void catch_signals();

// The signal that asked this process to stop, or 0. mpirun forwards USR1 and USR2 to every rank; after SIGTERM it waits
// only a second or two.
int stop_signal();

// For tests.
void clear_stop_signal();

}  // namespace snell::core
