#include "base/clock.h"

#include <gtest/gtest.h>

TEST(Rfc3339, WritesUtcWithMilliseconds) {
    EXPECT_EQ(base::to_rfc3339(base::from_milliseconds(0)), "1970-01-01T00:00:00.000Z");
    EXPECT_EQ(base::to_rfc3339(base::from_milliseconds(1'709'251'199'987)),
              "2024-02-29T23:59:59.987Z");
}

TEST(Rfc3339, ReadsOffsetsAndFractions) {
    const auto expected = base::from_milliseconds(1'709'251'199'987);
    for (const char* text : {"2024-02-29T23:59:59.987Z", "2024-03-01T01:29:59.987+01:30",
                             "2024-02-29T18:59:59.987-05:00", "2024-02-29t23:59:59.987654321z"}) {
        EXPECT_EQ(base::parse_rfc3339(text), expected) << text;
    }
    EXPECT_EQ(base::parse_rfc3339("2024-02-29T23:59:59Z"),
              base::from_milliseconds(1'709'251'199'000));
    EXPECT_EQ(base::parse_rfc3339("2024-02-29T23:59:59.9Z"),
              base::from_milliseconds(1'709'251'199'900));
}

TEST(Rfc3339, RefusesWhatIsNoTime) {
    for (const char* text :
         {"", "2024-02-30T00:00:00Z", "2023-02-29T00:00:00Z", "2024-13-01T00:00:00Z", "2024-01-01",
          "2024-01-01T24:00:00Z", "2024-01-01T00:60:00Z", "2024-01-01T00:00:60Z",
          "2024-01-01T00:00:00", "2024-01-01T00:00:00.Z", "2024-01-01T00:00:00.1234567890Z",
          "2024-01-01T00:00:00+1:00", "2024-01-01T00:00:00Zx", "1969-12-31T23:59:59Z",
          "2024-1-01T00:00:00Z", "2024-01-01 00:00:00Z", "99999-01-01T00:00:00Z"}) {
        EXPECT_FALSE(base::parse_rfc3339(text)) << text;
    }
}

TEST(Rfc3339, EveryTimeReadsBack) {
    for (std::int64_t value = 0; value < 253'402'300'799'000; value += 86'399'999'871) {
        const auto time = base::from_milliseconds(value);
        EXPECT_EQ(base::parse_rfc3339(base::to_rfc3339(time)), time);
    }
}
