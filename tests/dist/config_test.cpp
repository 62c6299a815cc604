#include "snell/dist/config.h"

#include <gtest/gtest.h>

#include "snell/config/binder.h"
#include "snell/config/node.h"
#include "snell/core/error.h"

namespace snell::dist {

static DistConfig read(const std::string& key, config::Kind kind, const std::string& text, double number) {
  config::Node section = config::Node::mapping(config::Origin("test"));
  section.set(key, config::Node::scalar(kind, text, number, config::Origin("test")));
  DistConfig config;
  config::bind_section(section, "dist", config);
  return config;
}

TEST(DistConfig, ReadsAndChecksItsKeys) {
  EXPECT_EQ(read("bucket_mb", config::Kind::kInt, "4", 4).bucket_mb, 4);
  EXPECT_EQ(read("backend", config::Kind::kString, "mpi", 0).backend, "mpi");
  EXPECT_EQ(read("check_replicas_every", config::Kind::kInt, "0", 0).bucket_mb, 25);
  EXPECT_THROW(read("bucket_mb", config::Kind::kInt, "0", 0), core::ConfigError);
  EXPECT_THROW(read("backend", config::Kind::kString, "gloo", 0), core::ConfigError);
  EXPECT_THROW(read("bucket_mib", config::Kind::kInt, "4", 4), core::ConfigError);
}

}  // namespace snell::dist
