#include "thread_nccl.h"

#include <c10/core/CPUAllocator.h>
#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>

#include "snell/core/text.h"
#include "thread_stream.h"

namespace snell::dist {

namespace {

constexpr int kSystemError = 2, kInvalidUsage = 5, kRemoteError = 6, kPollsInProgress = 2;
constexpr std::chrono::seconds kDeadlock{10};

struct Part {  // of one rank, in one operation
  const void* in = nullptr;
  void* out = nullptr;
};

struct Signature {
  std::string kind;
  size_t count = 0;
  int type = 0, op = 0, root = 0;
  bool operator==(const Signature&) const = default;
  std::string text() const { return core::str(kind, " of ", count, " of type ", type, ", op ", op, ", root ", root); }
};

struct Message {  // in flight from one rank to another
  const void* in = nullptr;
  size_t count = 0;
  int type = 0;
  bool taken = false;
};

struct Operation {
  std::map<int, Signature> signatures;
  std::map<int, Part> parts;
  bool done = false;
};

struct Group {
  std::mutex mutex;
  std::condition_variable changed;
  int size = 0, joined = 0;
  int error = 0;
  std::map<int64_t, Operation> operations;
  std::map<std::pair<int, int>, std::deque<std::shared_ptr<Message>>> mail;  // from, to
};

struct PointToPoint {
  bool is_send = false;
  const void* in = nullptr;
  void* out = nullptr;
  size_t count = 0;
  int type = 0, peer = 0;
};

struct Comm {
  std::shared_ptr<Group> group;
  int rank = 0;
  int polls_left = 0;
  bool joined = false, gone = false, aborted = false;  // aborted: guarded by the group's mutex
  int64_t next_operation = 0;
  std::vector<std::function<void()>> deferred;  // reaches its stream once `polls_left` is 0
};

std::mutex g_mutex;  // guards what is below, and every Comm but its `aborted`
std::condition_variable g_released;
ThreadNcclFaults g_faults;
ThreadNcclCounts g_counts;
bool g_hanging = true;
int64_t g_next_id = 1;
std::map<std::string, std::shared_ptr<Group>> g_groups;
std::vector<std::unique_ptr<Comm>> g_comms;  // never freed, so that a late call is seen

thread_local int t_group_depth = 0;
thread_local std::vector<PointToPoint> t_group;
thread_local void* t_group_stream = nullptr;
thread_local Comm* t_group_comm = nullptr;

size_t size_of(int type) {
  static const std::map<int, size_t> kSizes = {{1, 1}, {2, 4}, {4, 8}, {6, 2}, {7, 4}, {8, 8}, {9, 2}};
  return kSizes.at(type);
}

template <class T>
void reduce_as(std::vector<char>& total, const void* more, size_t count, int op) {
  T* a = reinterpret_cast<T*>(total.data());
  const T* b = static_cast<const T*>(more);
  for (size_t i = 0; i < count; ++i) {
    if (op == 0) {
      a[i] = static_cast<T>(a[i] + b[i]);
    } else {
      a[i] = op == 2 ? std::max(a[i], b[i]) : std::min(a[i], b[i]);
    }
  }
}

void reduce(std::vector<char>& total, const void* more, size_t count, int type, int op) {
  switch (type) {
    case 1:
      return reduce_as<uint8_t>(total, more, count, op);
    case 2:
      return reduce_as<int32_t>(total, more, count, op);
    case 4:
      return reduce_as<int64_t>(total, more, count, op);
    case 6:
      return reduce_as<c10::Half>(total, more, count, op);
    case 7:
      return reduce_as<float>(total, more, count, op);
    case 8:
      return reduce_as<double>(total, more, count, op);
    default:
      return reduce_as<c10::BFloat16>(total, more, count, op);
  }
}

// All ranks are here: what each reads is read now.
void carry_out(Group& group, Operation& operation) {
  const Signature& s = operation.signatures.at(0);
  const size_t bytes = s.count * size_of(s.type);
  const auto input = [&](int rank) { return static_cast<const char*>(operation.parts.at(rank).in); };
  const auto output = [&](int rank) { return static_cast<char*>(operation.parts.at(rank).out); };
  if (s.kind == "all_gather") {
    for (int to = 0; to < group.size; ++to) {
      for (int from = 0; from < group.size; ++from) {
        std::copy_n(input(from), bytes, output(to) + bytes * static_cast<size_t>(from));
      }
    }
    return;
  }
  if (s.kind == "broadcast") {
    const std::vector<char> data(input(s.root), input(s.root) + bytes);
    for (int to = 0; to < group.size; ++to) std::copy_n(data.begin(), bytes, output(to));
    return;
  }
  const bool scatters = s.kind == "reduce_scatter";
  const size_t whole = scatters ? s.count * static_cast<size_t>(group.size) : s.count;
  std::vector<char> total(input(0), input(0) + whole * size_of(s.type));
  for (int from = 1; from < group.size; ++from) reduce(total, input(from), whole, s.type, s.op);
  for (int to = 0; to < group.size; ++to) {
    std::copy_n(total.data() + (scatters ? bytes * static_cast<size_t>(to) : 0), bytes, output(to));
  }
}

// On the stream's thread, under the group's lock: until `ready`, an error, or this rank's abort. A wait without end is
// written down.
bool wait_in(Comm& comm, std::unique_lock<std::mutex>& lock, const char* what, const std::function<bool()>& ready) {
  Group& group = *comm.group;
  const bool ended =
      group.changed.wait_for(lock, kDeadlock, [&] { return group.error != 0 || comm.aborted || ready(); });
  if (!ended) {
    group.error = kSystemError;
    group.changed.notify_all();
    lock.unlock();
    const std::lock_guard global(g_mutex);
    g_counts.conflicts.push_back(core::str("rank ", comm.rank, " waits without end in ", what));
    return false;
  }
  return group.error == 0 && !comm.aborted;
}

void run_collective(Comm& comm, int64_t number, const Signature& signature, const Part& part) {
  Group& group = *comm.group;
  std::unique_lock lock(group.mutex);
  if (group.error != 0 || comm.aborted) return;
  Operation& operation = group.operations[number];
  operation.signatures[comm.rank] = signature;
  operation.parts[comm.rank] = part;
  if (static_cast<int>(operation.parts.size()) < group.size) {
    wait_in(comm, lock, signature.kind.c_str(), [&] { return operation.done; });
    return;
  }
  for (const auto& [rank, other] : operation.signatures) {
    if (other == operation.signatures.at(0)) continue;
    group.error = kInvalidUsage;
    group.changed.notify_all();
    const std::string text = core::str("operation ", number, ": rank 0 calls ", operation.signatures.at(0).text(),
                                       ", rank ", rank, " calls ", other.text());
    lock.unlock();
    const std::lock_guard global(g_mutex);
    g_counts.conflicts.push_back(text);
    return;
  }
  carry_out(group, operation);
  operation.done = true;
  group.changed.notify_all();
}

// Sends and receives of one group go on together; alone, each waits for its other side before the next begins.
void run_messages(Comm& comm, const std::vector<PointToPoint>& messages) {
  Group& group = *comm.group;
  std::unique_lock lock(group.mutex);
  std::vector<std::shared_ptr<Message>> sent;
  for (const PointToPoint& m : messages) {
    if (!m.is_send) continue;
    sent.push_back(std::make_shared<Message>(Message{m.in, m.count, m.type, false}));
    group.mail[{comm.rank, m.peer}].push_back(sent.back());
  }
  group.changed.notify_all();
  for (const PointToPoint& m : messages) {
    if (m.is_send) continue;
    auto& box = group.mail[{m.peer, comm.rank}];
    if (!wait_in(comm, lock, "receive", [&] { return !box.empty(); })) return;
    const auto message = box.front();
    box.pop_front();
    if (message->count != m.count || message->type != m.type) {
      group.error = kInvalidUsage;
    } else {
      std::copy_n(static_cast<const char*>(message->in), m.count * size_of(m.type), static_cast<char*>(m.out));
    }
    message->taken = true;
    group.changed.notify_all();
  }
  wait_in(comm, lock, "send",
          [&] { return std::all_of(sent.begin(), sent.end(), [](const auto& m) { return m->taken; }); });
}

Comm* alive(void* handle) {
  auto* comm = static_cast<Comm*>(handle);
  if (comm->gone) ++g_counts.misused;
  return comm->gone ? nullptr : comm;
}

// Puts the kernel on the stream when the operation has been waited out.
int submit(void* handle, void* stream, std::function<void(Comm&, int64_t)> kernel) {
  const std::lock_guard lock(g_mutex);
  Comm* comm = alive(handle);
  if (comm == nullptr) return kInvalidUsage;
  if (!comm->joined || comm->polls_left > 0) ++g_counts.misused;
  const int64_t number = comm->next_operation++;
  if (comm->rank == g_faults.fails_on_rank && number == g_faults.fails_at) {
    const std::lock_guard group_lock(comm->group->mutex);
    comm->group->error = kRemoteError;
    comm->group->changed.notify_all();
  }
  comm->deferred.push_back([comm, number, stream, kernel = std::move(kernel)] {
    static_cast<ThreadStream*>(stream)->launch([comm, number, kernel] { kernel(*comm, number); });
  });
  comm->polls_left = kPollsInProgress;
  return kNcclInProgress;
}

int collective(const Signature& signature, const Part& part, void* comm, void* stream) {
  return submit(comm, stream,
                [signature, part](Comm& c, int64_t number) { run_collective(c, number, signature, part); });
}

int get_unique_id(NcclId* id) {
  const std::lock_guard lock(g_mutex);
  id->bytes.fill('\1');
  std::memcpy(id->bytes.data(), &g_next_id, sizeof g_next_id);
  ++g_next_id;
  return kNcclSuccess;
}

int comm_init_rank(void** out, int size, const NcclId& id, int rank) {
  std::unique_lock lock(g_mutex);
  if (rank == g_faults.init_fails_on_rank) return kSystemError;
  if (rank == g_faults.init_hangs_on_rank) g_released.wait(lock, [] { return !g_hanging; });
  auto& group = g_groups[std::string(id.bytes.begin(), id.bytes.end())];
  if (group == nullptr) {
    group = std::make_shared<Group>();
    group->size = size;
  }
  if (group->size != size) return kInvalidUsage;
  auto comm = std::make_unique<Comm>();
  comm->group = group;
  comm->rank = rank;
  if (rank != g_faults.never_joins_rank) ++group->joined;
  ++g_counts.made;
  *out = comm.get();
  g_comms.push_back(std::move(comm));
  return kNcclInProgress;
}

int comm_get_async_error(void* handle, int* result) {
  const std::lock_guard lock(g_mutex);
  Comm* comm = alive(handle);
  if (comm == nullptr) return kInvalidUsage;
  if (!comm->joined) {
    comm->joined = comm->group->joined == comm->group->size;
    *result = comm->joined ? kNcclSuccess : kNcclInProgress;
    return kNcclSuccess;
  }
  if (comm->polls_left > 0 && --comm->polls_left > 0) {
    *result = kNcclInProgress;
    return kNcclSuccess;
  }
  for (const auto& launch : comm->deferred) launch();
  comm->deferred.clear();
  const std::lock_guard group_lock(comm->group->mutex);
  *result = comm->group->error;
  return kNcclSuccess;
}

// Lets its operations end.
int comm_destroy(void* handle) {
  const std::lock_guard lock(g_mutex);
  Comm* comm = alive(handle);
  if (comm == nullptr) return kInvalidUsage;
  comm->gone = true;
  ++g_counts.destroyed;
  return kNcclSuccess;
}

int comm_abort(void* handle) {
  const std::lock_guard lock(g_mutex);
  Comm* comm = alive(handle);
  if (comm == nullptr) return kInvalidUsage;
  comm->gone = true;
  ++g_counts.aborted;
  const std::lock_guard group_lock(comm->group->mutex);
  comm->aborted = true;
  comm->group->changed.notify_all();
  return kNcclSuccess;
}

int flush_group() {
  if (t_group.empty()) return kNcclSuccess;
  return submit(t_group_comm, t_group_stream,
                [messages = std::exchange(t_group, {})](Comm& comm, int64_t) { run_messages(comm, messages); });
}

int add_message(const PointToPoint& message, void* comm, void* stream) {
  t_group.push_back(message);
  t_group_comm = static_cast<Comm*>(comm);
  t_group_stream = stream;
  return t_group_depth == 0 ? flush_group() : kNcclSuccess;
}

struct KeepingAllocator : c10::Allocator {
  c10::DataPtr allocate(size_t bytes) override {
    void* data = std::malloc(std::max<size_t>(bytes, 1));
    const std::lock_guard lock(mutex);
    kept.push_back(data);  // no leak: somebody knows of it
    return {data, data, [](void*) {}, c10::Device(c10::kCPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override {
    return [](void*) {};
  }
  void copy_data(void* to, const void* from, size_t bytes) const override {
    std::copy_n(static_cast<const char*>(from), bytes, static_cast<char*>(to));
  }
  std::mutex mutex;
  std::vector<void*> kept;
};

}  // namespace

const NcclApi& thread_nccl() {
  static const NcclApi kApi = {
      .get_unique_id = get_unique_id,
      .comm_init_rank = comm_init_rank,
      .comm_destroy = comm_destroy,
      .comm_abort = comm_abort,
      .comm_get_async_error = comm_get_async_error,
      .get_error_string = [](int code) { return code == kRemoteError ? "remote process exited" : "some error"; },
      .get_last_error = [](void*) { return ""; },
      .all_reduce =
          [](const void* in, void* out, size_t count, int type, int op, void* comm, void* stream) {
            return collective({"all_reduce", count, type, op, 0}, {in, out}, comm, stream);
          },
      .broadcast =
          [](const void* in, void* out, size_t count, int type, int root, void* comm, void* stream) {
            return collective({"broadcast", count, type, 0, root}, {in, out}, comm, stream);
          },
      .all_gather =
          [](const void* in, void* out, size_t count, int type, void* comm, void* stream) {
            return collective({"all_gather", count, type, 0, 0}, {in, out}, comm, stream);
          },
      .reduce_scatter =
          [](const void* in, void* out, size_t count, int type, int op, void* comm, void* stream) {
            return collective({"reduce_scatter", count, type, op, 0}, {in, out}, comm, stream);
          },
      .send =
          [](const void* in, size_t count, int type, int peer, void* comm, void* stream) {
            return add_message({true, in, nullptr, count, type, peer}, comm, stream);
          },
      .receive =
          [](void* out, size_t count, int type, int peer, void* comm, void* stream) {
            return add_message({false, nullptr, out, count, type, peer}, comm, stream);
          },
      .group_start = [] { return ++t_group_depth, kNcclSuccess; },
      .group_end = [] { return --t_group_depth == 0 ? flush_group() : kNcclSuccess; },
  };
  return kApi;
}

void reset_thread_nccl(const ThreadNcclFaults& faults) {
  const std::lock_guard lock(g_mutex);
  g_faults = faults;
  g_counts = {};
  g_hanging = true;
  g_groups.clear();
}

ThreadNcclCounts thread_nccl_counts() {
  const std::lock_guard lock(g_mutex);
  return g_counts;
}

void release_hanging() {
  {
    const std::lock_guard lock(g_mutex);
    g_hanging = false;
  }
  g_released.notify_all();
}

void keep_freed_memory() {
  static auto* const allocator = new KeepingAllocator;  // outlives every tensor
  c10::SetCPUAllocator(allocator, /*priority=*/100);
}

}  // namespace snell::dist
