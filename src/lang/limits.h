// SPDX-License-Identifier: MIT
// Bounds of one evaluation, so that a hostile file costs at most about a second and 256 MB.
#pragma once

#include <cstddef>

namespace cirrus::lang {

/// All ours. Real configurations reach 1,300 lines and 100 tasks; each bound leaves a factor of
/// twenty or more above that.
struct Limits {
  std::size_t max_bytes = std::size_t{1} << 20;          ///< of the text
  std::size_t max_depth = 100;                           ///< of nesting, aliases looked through
  std::size_t max_nodes = 300'000;                       ///< after aliases, merges and matrices
  std::size_t max_tasks = 4'000;                         ///< before any condition
  std::size_t max_text_bytes = std::size_t{1} << 20;     ///< of one text after expansion
  std::size_t max_output_bytes = std::size_t{32} << 20;  ///< of all tasks and issues together
  std::size_t max_work = 100'000'000;                    ///< steps of expansion and matching
};

/// What is left of the two bounds that add up over a whole evaluation.
class Budget {
 public:
  explicit Budget(const Limits& limits)
      : work_left_(limits.max_work), output_left_(limits.max_output_bytes) {}

  /// False once more was asked for than there is; it stays false from then on.
  bool spend_work(std::size_t steps) { return spend(work_left_, steps); }
  bool spend_output(std::size_t bytes) { return spend(output_left_, bytes); }

 private:
  static bool spend(std::size_t& left, std::size_t amount) {
    if (amount > left) {
      left = 0;
      return false;
    }
    left -= amount;
    return true;
  }

  std::size_t work_left_;
  std::size_t output_left_;
};

}  // namespace cirrus::lang
