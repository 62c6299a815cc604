#include "snell/dist/mpi.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <exception>
#include <utility>

#include "mpi_comm.h"
#include "snell/core/text.h"

namespace snell::dist {

void check_mpi(int code, const char* call, std::source_location where) {
  if (code == MPI_SUCCESS) [[likely]]
    return;
  std::array<char, MPI_MAX_ERROR_STRING> text{};
  int length = 0;
  if (MPI_Error_string(code, text.data(), &length) != MPI_SUCCESS) length = 0;
  throw core::Error(
      core::str(call, " failed: ",
                length > 0 ? std::string(text.data(), static_cast<size_t>(length)) : core::str("MPI error ", code)),
      where);
}

// Asked before MPI starts: a world of one sets these variables itself.
static bool started_by_launcher() {
  constexpr std::array kVariables = {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK"};
  return std::any_of(kVariables.begin(), kVariables.end(),
                     [](const char* name) { return std::getenv(name) != nullptr; });
}

static void refuse_tasks_without_mpi(bool launched) {
  const char* tasks = std::getenv("SLURM_STEP_NUM_TASKS");
  if (launched || tasks == nullptr || std::atoi(tasks) <= 1) return;
  throw core::ConfigError(core::str("srun started ", tasks,
                                    " tasks, but without MPI: each would be a training of its own. Start them with "
                                    "'srun --mpi=pmix' or with mpirun"));
}

// Asked before MPI starts. By default Open MPI sums in place up and down a tree, which uses a link one way at a time; a
// ring sends and receives at once (20 MiB between two hosts at 1 Gbit/s: 0.18 s instead of 0.35 s).
static void prefer_rings() {
  ::setenv("OMPI_MCA_coll_libnbc_iallreduce_algorithm", "1", /*overwrite=*/0);
}

MpiSession::MpiSession(int* argc, char*** argv)
    : launched_(started_by_launcher()), exceptions_at_start_(std::uncaught_exceptions()) {
  int running = 0;
  check_mpi(MPI_Initialized(&running), "MPI_Initialized");
  int provided = MPI_THREAD_SINGLE;
  if (running != 0) {
    check_mpi(MPI_Query_thread(&provided), "MPI_Query_thread");
  } else {
    refuse_tasks_without_mpi(launched_);
    prefer_rings();
    check_mpi(MPI_Init_thread(argc, argv, MPI_THREAD_MULTIPLE, &provided), "MPI_Init_thread");
    owner_ = true;
  }
  check_mpi(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  core::check(provided == MPI_THREAD_MULTIPLE,
              "this MPI gives no MPI_THREAD_MULTIPLE; an Open MPI that is built with thread support is needed");
}

MpiSession::~MpiSession() {
  if (!owner_) return;
  if (std::uncaught_exceptions() > exceptions_at_start_) abort(core::ExitCode::kInternal);
  MPI_Finalize();  // the last call: nobody is left to be told of an error
}

void MpiSession::abort(core::ExitCode code) noexcept {
  MPI_Abort(MPI_COMM_WORLD, static_cast<int>(code));
  ::_exit(static_cast<int>(code));
}

std::string mpi_version() {
  std::array<char, MPI_MAX_LIBRARY_VERSION_STRING> text{};
  int length = 0;
  check_mpi(MPI_Get_library_version(text.data(), &length), "MPI_Get_library_version");
  const std::string version(text.data(), static_cast<size_t>(length));
  return version.substr(0, version.find_first_of(std::string("\n\0", 2)));
}

MpiComm::MpiComm(MPI_Comm comm, const std::string& name) : comm_(comm) {
  check_mpi(MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  check_mpi(MPI_Comm_set_name(comm, name.c_str()), "MPI_Comm_set_name");
}

MpiComm MpiComm::duplicate(MPI_Comm parent, const std::string& name) {
  MPI_Comm comm = MPI_COMM_NULL;
  check_mpi(MPI_Comm_dup(parent, &comm), "MPI_Comm_dup");
  return {comm, name};
}

MpiComm MpiComm::split(MPI_Comm parent, int color, const std::string& name) {
  MPI_Comm comm = MPI_COMM_NULL;
  check_mpi(MPI_Comm_split(parent, color, /*key=*/0, &comm), "MPI_Comm_split");
  return {comm, name};
}

MpiComm MpiComm::node_of(MPI_Comm parent) {
  MPI_Comm comm = MPI_COMM_NULL;
  check_mpi(MPI_Comm_split_type(parent, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &comm), "MPI_Comm_split_type");
  return MpiComm(comm);
}

MpiComm::MpiComm(MpiComm&& other) noexcept : comm_(std::exchange(other.comm_, MPI_COMM_NULL)) {}

MpiComm::~MpiComm() {
  if (comm_ == MPI_COMM_NULL || std::uncaught_exceptions() > 0) return;
  int ended = 0;
  if (MPI_Finalized(&ended) == MPI_SUCCESS && ended == 0) MPI_Comm_free(&comm_);
}

int MpiComm::rank() const {
  int rank = 0;
  check_mpi(MPI_Comm_rank(comm_, &rank), "MPI_Comm_rank");
  return rank;
}

int MpiComm::size() const {
  int size = 0;
  check_mpi(MPI_Comm_size(comm_, &size), "MPI_Comm_size");
  return size;
}

}  // namespace snell::dist
