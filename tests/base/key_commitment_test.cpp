#include "base/key_commitment.h"

#include <gtest/gtest.h>

#include "base/encoding.h"

namespace tests {
namespace {

// RFC 5869 with SHA-512, by another implementation: key 00 01 … 1f.
TEST(KeyCommitment, IsTheKcOfSealedCredentials) {
    base::Bytes key(32);
    for (std::size_t i = 0; i < key.size(); ++i) key[i] = static_cast<std::uint8_t>(i);
    EXPECT_EQ(base::to_hex(base::commitment_of(base::SecretBytes(key))),
              "1a436f8ee1f6d84682ece69d281acd9d59fe1cf671ec73906674146a6a454ccf");
}

}  // namespace
}  // namespace tests
