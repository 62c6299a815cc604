#include "snell/dist/config.h"

#include <gtest/gtest.h>

#include "snell/config/binder.h"
#include "snell/config/node.h"
#include "snell/core/error.h"

namespace snell::dist {

template <class T = DistConfig>
static T read(const std::string& key, config::Kind kind, const std::string& text, double number) {
  config::Node section = config::Node::mapping(config::Origin("test"));
  section.set(key, config::Node::scalar(kind, text, number, config::Origin("test")));
  T config;
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

TEST(WatchdogConfig, ReadsAndChecksItsKeys) {
  const auto read_one = [](const std::string& key, config::Kind kind, const std::string& text, double number) {
    return read<WatchdogConfig>(key, kind, text, number);
  };
  EXPECT_EQ(read_one("floor_s", config::Kind::kFloat, "60.0", 60).floor_s, 60);
  EXPECT_EQ(read_one("address", config::Kind::kString, "10.0.0.1", 0).address, "10.0.0.1");
  EXPECT_THROW(read_one("address", config::Kind::kString, "node1", 0), core::ConfigError);
  EXPECT_THROW(read_one("heartbeat_s", config::Kind::kFloat, "60.0", 60), core::ConfigError)
      << "beyond a third of floor_s";
  EXPECT_THROW(read_one("factor", config::Kind::kFloat, "0.5", 0.5), core::ConfigError);
}

}  // namespace snell::dist
