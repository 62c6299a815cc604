#include "snell/core/text.h"

#include <gtest/gtest.h>

namespace snell::core {

TEST(NearestMatch, FindsTypingErrorsOnly) {
  const std::vector<std::string> keys{"learning_rate", "weight_decay", "epochs"};
  EXPECT_EQ(nearest_match("learnig_rate", keys), "learning_rate");
  EXPECT_EQ(nearest_match("epoch", keys), "epochs");
  EXPECT_EQ(nearest_match("something_else_entirely", keys), "");
  EXPECT_EQ(nearest_match("x", {}), "");
}

TEST(HumanText, BytesAndDurations) {
  EXPECT_EQ(human_bytes(999), "999 B");
  EXPECT_EQ(human_bytes(5308416.0 * 4), "21.2 MB");
  EXPECT_EQ(human_duration(62), "01:02");
  EXPECT_EQ(human_duration(3723), "1:02:03");
  EXPECT_EQ(human_duration(-1), "--:--");
}

}  // namespace snell::core
