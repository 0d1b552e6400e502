#include "base/secret_bytes.h"

#include <gtest/gtest.h>

#include <type_traits>

static_assert(!std::is_copy_constructible_v<base::SecretBytes>);
static_assert(!std::is_copy_assignable_v<base::SecretBytes>);
static_assert(!std::is_convertible_v<base::SecretBytes, std::string_view>);
static_assert(!std::is_convertible_v<std::string, base::SecretBytes>);

TEST(SecretBytes, MovingLeavesNothingBehind) {
    base::SecretBytes first(base::as_bytes("secret"));
    base::SecretBytes second(std::move(first));
    EXPECT_TRUE(first.empty());  // NOLINT(bugprone-use-after-move): that is what is tested
    EXPECT_EQ(second.expose_text(), "secret");
    base::SecretBytes third;
    third = std::move(second);
    EXPECT_TRUE(second.empty());  // NOLINT(bugprone-use-after-move)
    EXPECT_EQ(third.expose_text(), "secret");
}

TEST(SecretBytes, CloneIsEqualAndIndependent) {
    base::SecretBytes secret(base::as_bytes("secret"));
    base::SecretBytes copy = secret.clone();
    secret.expose_mutable()[0] = 'S';
    EXPECT_EQ(copy.expose_text(), "secret");
    EXPECT_FALSE(copy.equals(secret.expose()));
}

TEST(SecretBytes, EqualityNeedsSameLengthAndContent) {
    const base::SecretBytes secret(base::as_bytes("secret"));
    EXPECT_TRUE(secret.equals(base::as_bytes("secret")));
    EXPECT_FALSE(secret.equals(base::as_bytes("secreT")));
    EXPECT_FALSE(secret.equals(base::as_bytes("secre")));
    EXPECT_FALSE(secret.equals({}));
}

TEST(SecretBytes, ShrinkWipesTheTail) {
    base::SecretBytes secret(base::as_bytes("secret-tail"));
    const std::uint8_t* tail = secret.expose().data() + 6;
    secret.shrink(6);
    EXPECT_EQ(secret.expose_text(), "secret");
    // The vector keeps its capacity, so the old tail is still this vector's memory.
    EXPECT_EQ(std::string(reinterpret_cast<const char*>(tail), 5), std::string(5, '\0'));
}

TEST(WipingAllocator, WipesBeforeItGivesBack) {
    // A buffer in our own hands: what the allocator does on release, seen at the memory itself.
    std::string memory = "secret";
    base::wipe(memory.data(), memory.size());
    EXPECT_EQ(memory, std::string(6, '\0'));
}
