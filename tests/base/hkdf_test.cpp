#include "base/hkdf.h"

#include <gtest/gtest.h>

#include "base/encoding.h"
#include "base/error.h"

namespace tests {
namespace {

base::Bytes counting(std::uint8_t from, std::size_t count) {
    base::Bytes bytes(count);
    for (std::uint8_t& byte : bytes) byte = from++;
    return bytes;
}

std::string derive(const base::Bytes& key, const base::Bytes& salt, const base::Bytes& info,
                   std::size_t bytes) {
    const auto derived =
        base::hkdf_sha_512(base::SecretBytes(key), base::as_text(salt), base::as_text(info), bytes);
    return base::to_hex(derived.expose());
}

// The inputs of RFC 5869's test cases 1 to 3, with SHA-512, by another implementation; the second
// has a salt that is longer than a block.
TEST(Hkdf, GivesWhatAnotherImplementationGivesForTheInputsOfTheRfc) {
    EXPECT_EQ(derive(base::Bytes(22, 0x0b), counting(0, 13), counting(0xf0, 10), 42),
              "832390086cda71fb47625bb5ceb168e4c8e26a1a16ed34d9fc7fe92c1481579338da362cb8d9f925d7"
              "cb");
    EXPECT_EQ(derive(counting(0, 80), counting(0x60, 160), counting(0xb0, 80), 64),
              "43ea4328e9236ecfff825ef741948cc38cf8d6ce21b69962361544ddc74ca9710dd52f44e737ad8400"
              "d40c718fa8e842a939c780b57a5f8f17f6d4f57933e45f");
    EXPECT_EQ(derive(base::Bytes(22, 0x0b), {}, {}, 42),
              "f5fa02b18298a72a8c23898a8703472c6eb179dc204c03425c970e3b164bf90fff22d04836d0e2343b"
              "ac");
}

TEST(Hkdf, RemembersNothingOfTheCallBefore) {
    const auto once = derive(counting(1, 32), counting(2, 30), counting(3, 14), 32);
    derive(counting(9, 32), counting(9, 200), counting(9, 300), 64);
    EXPECT_EQ(derive(counting(1, 32), counting(2, 30), counting(3, 14), 32), once);
}

TEST(Hkdf, RefusesALengthThatIsNotOneBlocks) {
    for (const std::size_t bytes : {std::size_t{0}, base::max_derived_bytes + 1}) {
        EXPECT_THROW(derive(counting(1, 32), {}, {}, bytes), base::Error);
    }
}

}  // namespace
}  // namespace tests
