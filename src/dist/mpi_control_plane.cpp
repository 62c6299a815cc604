#include <unistd.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "mpi_comm.h"
#include "snell/core/error.h"
#include "snell/core/phase.h"
#include "snell/core/text.h"
#include "snell/core/timer.h"
#include "snell/dist/control_plane.h"

namespace snell::dist {

namespace {

// Control messages are ids, names, decisions; what is longer is a mistake, and MPI counts bytes in an int.
constexpr int64_t kLongest = std::numeric_limits<int>::max();

constexpr int kRollCall = 1;
constexpr int kRollAnswer = 2;

int as_count(int64_t bytes) {
  core::check(bytes >= 0 && bytes <= kLongest, core::str("a control message of ", bytes, " bytes is too long"));
  return static_cast<int>(bytes);
}

// MPI_Wait would spin at full speed until the slowest rank arrives.
void wait(MPI_Request request) {
  constexpr int kEagerLooks = 100;
  const core::Phase phase(core::PhaseKind::kAgree);
  int done = 0;
  for (int look = 0;; ++look) {
    check_mpi(MPI_Test(&request, &done, MPI_STATUS_IGNORE), "MPI_Test");
    if (done != 0) return;
    if (look >= kEagerLooks) ::usleep(50);
  }
}

// False when the request did not complete in time; it then stays behind, with its buffer (leaked).
bool wait_until(MPI_Request& request, const core::Timer& timer, double limit_s) {
  for (int done = 0;;) {
    check_mpi(MPI_Test(&request, &done, MPI_STATUS_IGNORE), "MPI_Test");
    if (done != 0) return true;
    if (timer.seconds() > limit_s) return false;
    ::usleep(50);
  }
}

class MpiControlPlane : public ControlPlane {
 public:
  MpiControlPlane()
      : comm_(MpiComm::duplicate(MPI_COMM_WORLD, "snell.control")), rank_(comm_.rank()), size_(comm_.size()) {
    const MpiComm node = MpiComm::node_of(comm_.get());
    local_rank_ = node.rank();
    local_size_ = node.size();
    node_leader_ = rank_;
    check_mpi(MPI_Bcast(&node_leader_, 1, MPI_INT, 0, node.get()), "MPI_Bcast");
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  int local_rank() const override { return local_rank_; }
  int local_size() const override { return local_size_; }
  int node_leader() const override { return node_leader_; }

  void barrier() override {
    MPI_Request request = MPI_REQUEST_NULL;
    check_mpi(MPI_Ibarrier(comm_.get(), &request), "MPI_Ibarrier");
    wait(request);
  }

  // Each rank sends rank 0 a word, and rank 0 answers with who is missing.
  std::vector<int> roll_call(double limit_s) override {
    const core::Timer timer;
    const auto size = static_cast<size_t>(size_);
    auto words = std::make_unique<std::vector<char>>(size);  // [rank]: 1 is missing
    auto requests = std::make_unique<std::vector<MPI_Request>>(size, MPI_REQUEST_NULL);
    const auto give_up = [&] { static_cast<void>(words.release()), static_cast<void>(requests.release()); };
    std::vector<int> missing;
    if (rank_ == 0) {
      for (int rank = 1; rank < size_; ++rank) {
        check_mpi(MPI_Irecv(&(*words)[static_cast<size_t>(rank)], 1, MPI_CHAR, rank, kRollCall, comm_.get(),
                            &(*requests)[static_cast<size_t>(rank)]),
                  "MPI_Irecv");
      }
      for (int rank = 1; rank < size_; ++rank) {
        if (wait_until((*requests)[static_cast<size_t>(rank)], timer, limit_s)) continue;
        missing.push_back(rank);
      }
      std::vector<char> answer(size);
      for (int rank : missing) answer[static_cast<size_t>(rank)] = 1;
      for (int rank = 1; rank < size_; ++rank) {
        if (answer[static_cast<size_t>(rank)] != 0) continue;
        check_mpi(MPI_Send(answer.data(), size_, MPI_CHAR, rank, kRollAnswer, comm_.get()), "MPI_Send");
      }
      if (!missing.empty()) give_up();
      return missing;
    }
    const char here = 0;
    check_mpi(MPI_Send(&here, 1, MPI_CHAR, 0, kRollCall, comm_.get()), "MPI_Send");
    check_mpi(MPI_Irecv(words->data(), size_, MPI_CHAR, 0, kRollAnswer, comm_.get(), requests->data()), "MPI_Irecv");
    if (!wait_until(requests->front(), timer, 2 * limit_s)) {
      give_up();
      return {0};
    }
    for (int rank = 0; rank < size_; ++rank) {
      if ((*words)[static_cast<size_t>(rank)] != 0) missing.push_back(rank);
    }
    return missing;
  }

  std::string broadcast(const std::string& bytes, int root) override {
    int64_t length = as_count(static_cast<int64_t>(bytes.size()));
    broadcast_raw(&length, sizeof length, root);
    std::string out = rank_ == root ? bytes : std::string(static_cast<size_t>(length), '\0');
    if (length > 0) broadcast_raw(out.data(), as_count(length), root);
    return out;
  }

  std::vector<int64_t> all_gather_ints(int64_t value) override {
    std::vector<int64_t> out(static_cast<size_t>(size_));
    MPI_Request request = MPI_REQUEST_NULL;
    check_mpi(MPI_Iallgather(&value, 1, MPI_INT64_T, out.data(), 1, MPI_INT64_T, comm_.get(), &request),
              "MPI_Iallgather");
    wait(request);
    return out;
  }

  std::vector<std::string> all_gather_strings(const std::string& bytes) override {
    Parts parts(all_gather_ints(static_cast<int64_t>(bytes.size())));
    MPI_Request request = MPI_REQUEST_NULL;
    check_mpi(MPI_Iallgatherv(bytes.data(), as_count(static_cast<int64_t>(bytes.size())), MPI_BYTE, parts.bytes.data(),
                              parts.counts.data(), parts.offsets.data(), MPI_BYTE, comm_.get(), &request),
              "MPI_Iallgatherv");
    wait(request);
    return parts.split();
  }

  std::vector<std::string> gather_strings(const std::string& bytes, int root) override {
    Parts parts(all_gather_ints(static_cast<int64_t>(bytes.size())));
    MPI_Request request = MPI_REQUEST_NULL;
    check_mpi(MPI_Igatherv(bytes.data(), as_count(static_cast<int64_t>(bytes.size())), MPI_BYTE, parts.bytes.data(),
                           parts.counts.data(), parts.offsets.data(), MPI_BYTE, root, comm_.get(), &request),
              "MPI_Igatherv");
    wait(request);
    return rank_ == root ? parts.split() : std::vector<std::string>{};
  }

 private:
  // Strings of different lengths, one after the other.
  struct Parts {
    explicit Parts(const std::vector<int64_t>& lengths) {
      int64_t total = 0;
      for (int64_t length : lengths) {
        counts.push_back(as_count(length));
        offsets.push_back(as_count(total));
        total += length;
      }
      bytes.resize(static_cast<size_t>(as_count(total)));
    }
    std::vector<std::string> split() const {
      std::vector<std::string> out;
      for (size_t i = 0; i < counts.size(); ++i) {
        out.push_back(bytes.substr(static_cast<size_t>(offsets[i]), static_cast<size_t>(counts[i])));
      }
      return out;
    }
    std::vector<int> counts, offsets;
    std::string bytes;
  };

  void broadcast_raw(void* data, int bytes, int root) {
    MPI_Request request = MPI_REQUEST_NULL;
    check_mpi(MPI_Ibcast(data, bytes, MPI_BYTE, root, comm_.get(), &request), "MPI_Ibcast");
    wait(request);
  }

  MpiComm comm_;
  int rank_;
  int size_;
  int local_rank_ = 0;
  int local_size_ = 1;
  int node_leader_ = 0;
};

}  // namespace

std::unique_ptr<ControlPlane> make_control_plane() {
  int running = 0;
  check_mpi(MPI_Initialized(&running), "MPI_Initialized");
  if (running == 0) return std::make_unique<SelfControlPlane>();
  return std::make_unique<MpiControlPlane>();
}

}  // namespace snell::dist
