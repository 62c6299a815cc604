#include "snell/core/hash.h"

#include <gtest/gtest.h>

namespace snell::core {

TEST(Hash, KnownValueOfTheEmptyInput) {
  EXPECT_EQ(hash128(nullptr, 0).hex(), "99aa06d3014798d86001c324468d497f");  // xxHash's own test value
}

TEST(Hash, PartsEqualWhole) {
  std::string text(1000, 'x');
  for (size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(i * 31);
  Hasher hasher;
  hasher.add(text.data(), 17);
  hasher.add(text.data() + 17, text.size() - 17);
  EXPECT_EQ(hasher.finish(), hash128(text.data(), text.size()));
}

TEST(Hash, OneBitChangesIt) {
  std::string text(64, '\0');
  const Hash128 before = hash128(text.data(), text.size());
  text[40] = 1;
  EXPECT_NE(hash128(text.data(), text.size()).hex(), before.hex());
}

}  // namespace snell::core
