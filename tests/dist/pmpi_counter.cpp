// Counts the bytes that a program hands to MPI_Allreduce and MPI_Iallreduce, from outside the program: MPI's profiling
// interface lets a library define these names and call the real PMPI_ ones. Link it, or start a program with
//   mpirun -x LD_PRELOAD=libpmpi_counter.so -x SNELL_PMPI_COUNT_FILE=/tmp/counts …
// and every rank writes <file>.<rank> at MPI_Finalize: one line a communicator, "<name> <calls> <bytes>".
#include <mpi.h>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <map>
#include <mutex>
#include <string>

namespace {

struct Count {
  int64_t calls = 0;
  int64_t bytes = 0;
};

std::mutex g_mutex;
std::map<std::string, Count> g_counts;

void count(int elements, MPI_Datatype type, MPI_Comm comm) {
  MPI_Count size = 0;
  PMPI_Type_size_x(type, &size);
  std::array<char, MPI_MAX_OBJECT_NAME> name{};
  int length = 0;
  PMPI_Comm_get_name(comm, name.data(), &length);
  const std::lock_guard lock(g_mutex);
  Count& entry = g_counts[std::string(name.data(), static_cast<size_t>(length))];
  ++entry.calls;
  entry.bytes += static_cast<int64_t>(size) * elements;
}

}  // namespace

extern "C" {

// Bytes so far on the communicator of this name; for a test that links the library.
int64_t snell_pmpi_allreduce_bytes(const char* communicator) {
  const std::lock_guard lock(g_mutex);
  const auto found = g_counts.find(communicator);
  return found == g_counts.end() ? 0 : found->second.bytes;
}

int MPI_Allreduce(const void* in, void* out, int elements, MPI_Datatype type, MPI_Op op, MPI_Comm comm) {
  count(elements, type, comm);
  return PMPI_Allreduce(in, out, elements, type, op, comm);
}

int MPI_Iallreduce(const void* in, void* out, int elements, MPI_Datatype type, MPI_Op op, MPI_Comm comm,
                   MPI_Request* request) {
  count(elements, type, comm);
  return PMPI_Iallreduce(in, out, elements, type, op, comm, request);
}

int MPI_Finalize() {
  if (const char* path = std::getenv("SNELL_PMPI_COUNT_FILE")) {
    int rank = 0;
    PMPI_Comm_rank(MPI_COMM_WORLD, &rank);
    std::ofstream file(std::string(path) + "." + std::to_string(rank));
    for (const auto& [name, entry] : g_counts) file << name << " " << entry.calls << " " << entry.bytes << "\n";
  }
  return PMPI_Finalize();
}
}
