// In which order blocks are used, as far as it was seen.
#pragma once

#include <cstdint>
#include <map>
#include <utility>

namespace snell::dist {

// Foresees the next block from the last two: what followed them the last time, or, where they were not seen one after
// the other before, the next one in the same direction. A pure function of the uses, so all ranks foresee alike.
class UseOrder {
 public:
  int64_t current() const { return current_; }    // -1: none yet
  int64_t previous() const { return previous_; }  // another block than current; -1: none yet

  // `block` comes, another one than the current.
  void use(int64_t block) {
    if (current_ >= 0) followers_[{previous_, current_}] = block;
    previous_ = current_;
    current_ = block;
  }

  // The block that will follow, of `num_blocks`; -1: not known.
  int64_t next(int64_t num_blocks) const {
    const auto seen = followers_.find({previous_, current_});
    if (seen != followers_.end()) return seen->second;
    const int64_t guess = current_ + (current_ >= previous_ ? 1 : -1);
    return guess < num_blocks ? guess : -1;
  }

 private:
  int64_t current_ = -1, previous_ = -1;
  std::map<std::pair<int64_t, int64_t>, int64_t> followers_;  // of a previous and a current block
};

}  // namespace snell::dist
