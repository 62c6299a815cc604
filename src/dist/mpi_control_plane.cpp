#include <unistd.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "mpi_comm.h"
#include "snell/core/error.h"
#include "snell/core/text.h"
#include "snell/dist/control_plane.h"

namespace snell::dist {

namespace {

// Control messages are ids, names, decisions; what is longer is a mistake, and MPI counts bytes in an int.
constexpr int64_t kLongest = std::numeric_limits<int>::max();

int as_count(int64_t bytes) {
  core::check(bytes >= 0 && bytes <= kLongest, core::str("a control message of ", bytes, " bytes is too long"));
  return static_cast<int>(bytes);
}

// MPI_Wait would spin at full speed until the slowest rank arrives.
void wait(MPI_Request request) {
  constexpr int kEagerLooks = 100;
  int done = 0;
  for (int look = 0;; ++look) {
    check_mpi(MPI_Test(&request, &done, MPI_STATUS_IGNORE), "MPI_Test");
    if (done != 0) return;
    if (look >= kEagerLooks) ::usleep(50);
  }
}

class MpiControlPlane : public ControlPlane {
 public:
  MpiControlPlane()
      : comm_(MpiComm::duplicate(MPI_COMM_WORLD, "snell.control")), rank_(comm_.rank()), size_(comm_.size()) {
    const MpiComm node = MpiComm::node_of(comm_.get());
    local_rank_ = node.rank();
    local_size_ = node.size();
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  int local_rank() const override { return local_rank_; }
  int local_size() const override { return local_size_; }

  void barrier() override {
    MPI_Request request = MPI_REQUEST_NULL;
    check_mpi(MPI_Ibarrier(comm_.get(), &request), "MPI_Ibarrier");
    wait(request);
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
};

}  // namespace

std::unique_ptr<ControlPlane> make_control_plane() {
  int running = 0;
  check_mpi(MPI_Initialized(&running), "MPI_Initialized");
  if (running == 0) return std::make_unique<SelfControlPlane>();
  return std::make_unique<MpiControlPlane>();
}

}  // namespace snell::dist
