#include "base/table.h"

#include <gtest/gtest.h>

namespace tests {
namespace {

TEST(Table, ColumnsAreAsWideAsTheirWidestCell) {
    base::Table table({"NAME", "STATE"});
    table.add({"a", "enabled"}).add({"longer", "off"});
    EXPECT_EQ(table.to_string(), "NAME    STATE\na       enabled\nlonger  off\n");
}

TEST(Table, WithoutHeadingsTheFirstRowSetsTheColumns) {
    base::Table table;
    table.add({"id", "7"}).add({"created", "today", "dropped"});
    EXPECT_EQ(table.to_string(), "id       7\ncreated  today\n");
    EXPECT_EQ(base::Table().to_string(), "");
}

TEST(Table, EmptyAndMissingCellsShowAsADash) {
    base::Table table({"A", "B"});
    table.add({"", "x"}).add({"y"});
    EXPECT_EQ(table.to_string(), "A  B\n-  x\ny  -\n");
}

TEST(Table, WidthIsCountedInCodePoints) {
    base::Table table({"A", "B"});
    table.add({"\xC3\xA9\xC3\xA9", "x"}).add({"eee", "y"});
    EXPECT_EQ(table.to_string(), "A    B\n\xC3\xA9\xC3\xA9   x\neee  y\n");
}

TEST(Table, NothingInACellReachesTheTerminalAsACommand) {
    EXPECT_EQ(base::printable("a\x1b[31mb\nc\td\x7f"), "a?[31mb?c?d?");
    EXPECT_EQ(base::printable("\xC2\x9B"
                              "31m"),
              "?31m");  // C1 control: CSI
    EXPECT_EQ(base::printable("a\xFF\xC3"
                              "b"),
              "a??b");  // no UTF-8
    EXPECT_EQ(base::printable("\xE2\x82\xAC \xF0\x9F\x94\x91 \xC3\xA9"),
              "\xE2\x82\xAC \xF0\x9F\x94\x91 \xC3\xA9");
    base::Table table({"A"});
    table.add({"x\ny"});
    EXPECT_EQ(table.to_string(), "A\nx?y\n");
}

}  // namespace
}  // namespace tests
