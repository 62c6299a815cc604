// Ranks that are threads of one process, and a control plane among them: what needs many ranks with one memory, so that
// a test sees all sides at once.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "snell/dist/control_plane.h"

namespace snell::dist {

// Where the ranks meet. A wait that takes longer than kDeadlock throws core::Error, so that a test fails and ends.
class ThreadWorld {
 public:
  static constexpr std::chrono::seconds kDeadlock{20};
  explicit ThreadWorld(int size) : slots_(static_cast<size_t>(size)), here_(static_cast<size_t>(size)) {}
  int size() const { return static_cast<int>(slots_.size()); }
  std::vector<std::string> exchange(int rank, const std::string& bytes);
  std::vector<int> roll_call(int rank, double limit_s);

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> slots_, result_;
  int arrived_ = 0;
  int64_t round_ = 0;
  std::vector<int64_t> here_;  // roll calls that a rank has come to
  bool given_up_ = false;      // one of them missed a rank: who comes later finds nobody
};

class ThreadControlPlane : public ControlPlane {
 public:
  ThreadControlPlane(ThreadWorld& world, int rank) : world_(world), rank_(rank) {}
  int rank() const override { return rank_; }
  int size() const override { return world_.size(); }
  int local_rank() const override { return rank_; }
  int local_size() const override { return world_.size(); }
  void barrier() override { world_.exchange(rank_, ""); }
  std::string broadcast(const std::string& bytes, int root) override {
    return world_.exchange(rank_, bytes)[static_cast<size_t>(root)];
  }
  std::vector<int64_t> all_gather_ints(int64_t value) override;
  std::vector<std::string> all_gather_strings(const std::string& bytes) override {
    return world_.exchange(rank_, bytes);
  }
  std::vector<std::string> gather_strings(const std::string& bytes, int root) override {
    auto all = world_.exchange(rank_, bytes);
    return rank_ == root ? all : std::vector<std::string>{};
  }
  std::vector<int> roll_call(double limit_s) override { return world_.roll_call(rank_, limit_s); }

 private:
  ThreadWorld& world_;
  int rank_;
};

// Runs `body` as every rank; returns what each threw ("" for nothing; "agreed: …" for an AgreedError).
std::vector<std::string> run_as_ranks(int size, const std::function<void(ThreadControlPlane&)>& body);

}  // namespace snell::dist
