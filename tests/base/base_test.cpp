#include <gtest/gtest.h>

#include "base/encoding.h"

TEST(Base64, DecodesWhatItEncodes) {
    const base::Bytes bytes{0, 1, 2, 250, 255};
    EXPECT_EQ(base::parse_base64(base::to_base64(bytes)), bytes);
}
