#include "base/uuid.h"

#include <gtest/gtest.h>

#include <set>

TEST(Uuid, TextAndBytesAreTheSameThing) {
    const auto id = base::Uuid::parse("00112233-4455-6677-8899-aabbccddeeff");
    ASSERT_TRUE(id);
    EXPECT_EQ(id->bytes()[0], 0x00);
    EXPECT_EQ(id->bytes()[15], 0xFF);
    EXPECT_EQ(id->to_string(), "00112233-4455-6677-8899-aabbccddeeff");
    EXPECT_EQ(base::Uuid::from_bytes(id->bytes()), *id);
}

TEST(Uuid, OnlyTheCanonicalFormIsRead) {
    for (const char* text :
         {"", "00112233-4455-6677-8899-aabbccddeef", "00112233-4455-6677-8899-aabbccddeeff0",
          "00112233445566778899aabbccddeeff", "00112233-4455-6677-8899-AABBCCDDEEFF",
          "{0112233-4455-6677-8899-aabbccddeef}", "00112233-4455-6677-8899aaabbccddeeff",
          "0011223g-4455-6677-8899-aabbccddeeff"}) {
        EXPECT_FALSE(base::Uuid::parse(text)) << text;
    }
}

TEST(Uuid, RandomOnesAreVersionFourAndDiffer) {
    std::set<base::Uuid> seen;
    for (int i = 0; i < 1000; ++i) {
        const auto id = base::Uuid::random();
        EXPECT_EQ(id.bytes()[6] >> 4U, 4);
        EXPECT_EQ(id.bytes()[8] >> 6U, 2);
        EXPECT_TRUE(seen.insert(id).second);
    }
}
