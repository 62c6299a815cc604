// The stacks of all threads of this process, written while it hangs.
#pragma once

namespace snell::core {

// Once, early: installs the handler of SIGURG (whose default is to be ignored) and loads what unwinding needs.
void prepare_stacks();

// Writes the stack of every other thread to the file `fd`, each frame as module(symbol+offset)[address]. Allocates no
// memory and takes no lock, as the thread that hangs may hold the allocator's. A thread that does not answer within
// half a second is passed over. One caller at a time.
void write_stacks(int fd) noexcept;

// Writes the names of the program's own functions in those stacks, which only its symbol table knows: a line an
// address,
// "[address] name". Does allocate. Nothing for a stripped program.
void write_own_names(int fd) noexcept;

}  // namespace snell::core
