#include "snell/report/table.h"

#include <gtest/gtest.h>

#include <limits>

#include "snell/core/error.h"

namespace snell::report {
namespace {

TEST(Table, AlignsForPeopleAndListsForPrograms) {
  Table table({{"method", "method"}, {"parameters", "parameters"}, {"accuracy", "accuracy, %", 1}});
  table.add({"snell", 5308416, 91.74});
  table.add({"größer", 7, nullptr});
  EXPECT_EQ(table.text(),
            "method  parameters  accuracy, %\n"
            "------  ----------  -----------\n"
            "snell    5,308,416         91.7\n"
            "größer           7            -\n");
  EXPECT_EQ(table.json().dump(),
            "[{\"method\":\"snell\",\"parameters\":5308416,\"accuracy\":91.74},"
            "{\"method\":\"größer\",\"parameters\":7,\"accuracy\":null}]");
}

TEST(Table, EmptyAndOddValues) {
  Table table({{"a", "a"}, {"b", "b"}});
  EXPECT_EQ(table.text(), "a  b\n-  -\n");
  EXPECT_EQ(table.json().dump(), "[]");
  table.add({true, std::numeric_limits<double>::infinity()});
  EXPECT_EQ(table.cell(0, 0), "yes");
  EXPECT_EQ(table.cell(0, 1), "-");
  EXPECT_THROW(table.add({1}), core::Error);
}

TEST(Table, Separators) {
  EXPECT_EQ(with_separators(0), "0");
  EXPECT_EQ(with_separators(999), "999");
  EXPECT_EQ(with_separators(-123456), "-123,456");
  EXPECT_EQ(with_separators(1234567), "1,234,567");
}

}  // namespace
}  // namespace snell::report
