// What every DataKeys keeps: the fake of the unit tests and the real key service alike.
#pragma once

#include <gtest/gtest.h>

#include "tests/support/expect_error.h"
#include "vault/data_keys.h"
#include "vault/sealed.h"

namespace tests {

inline void expect_data_keys_contract(vault::DataKeys& keys) {
    const vault::KeyContext context = {{"owner", "acme"}, {"credential", "db"}, {"version", "1"}};
    const vault::DataKey key = keys.create(context, "");
    EXPECT_EQ(key.plaintext.size(), vault::data_key_bytes);
    EXPECT_GT(key.key_version, 0U);
    EXPECT_TRUE(keys.unwrap(key.wrapped, context, "").equals(key.plaintext.expose()));

    const vault::DataKey other = keys.create(context, "");
    EXPECT_FALSE(other.plaintext.equals(key.plaintext.expose()))
        << "data keys are never given twice";
    EXPECT_NE(other.wrapped, key.wrapped);

    // What it makes can be sealed under: the wrapped form names the master key as documented.
    const vault::SealBinding binding{"acme", "db", 1};
    const auto sealed = vault::seal(binding, {}, key, base::as_bytes("{}"));
    EXPECT_EQ(vault::open(sealed, binding, key.plaintext).expose_text(), "{}");

    vault::KeyContext another = context;
    another["version"] = "2";
    EXPECT_ERROR(integrity_failure, keys.unwrap(key.wrapped, another, ""));
    EXPECT_ERROR(integrity_failure, keys.unwrap(key.wrapped, {}, ""));
    base::Bytes flipped = key.wrapped;
    flipped.back() ^= 1;
    EXPECT_ERROR(integrity_failure, keys.unwrap(flipped, context, ""));
    base::Bytes cut = key.wrapped;
    cut.pop_back();
    EXPECT_ERROR(integrity_failure, keys.unwrap(cut, context, ""));
    EXPECT_NO_THROW(keys.check());
}

// The calls on many: as many outcomes as items, in order, one that fails beside others that don't.
inline void expect_data_keys_contract_of_batches(vault::DataKeys& keys) {
    const vault::KeyContext context = {{"owner", "acme"}, {"use", "sealed value"}};
    const auto made = keys.create_many(context, 3, "");
    ASSERT_EQ(made.size(), 3U);
    EXPECT_FALSE(made[0].plaintext.equals(made[1].plaintext.expose()));
    const vault::MasterKeyVersion master{made[0].key_id, made[0].key_version};
    EXPECT_EQ(keys.newest(""), master) << "it has just said so";
    EXPECT_EQ(keys.newest_now(""), master);

    base::Bytes flipped = made[1].wrapped;
    flipped.back() ^= 1;
    const std::vector<vault::WrappedKey> items = {{made[2].wrapped, context},
                                                  {flipped, context},
                                                  {made[1].wrapped, {{"owner", "globex"}}},
                                                  {{}, context},
                                                  {made[0].wrapped, context}};
    const auto unwrapped = keys.unwrap_many(items, "");
    const auto rewrapped = keys.rewrap_many(items, "");
    ASSERT_EQ(unwrapped.size(), items.size());
    ASSERT_EQ(rewrapped.size(), items.size());
    for (const std::size_t bad : {1U, 2U, 3U}) {
        EXPECT_EQ(std::get<base::Error>(unwrapped[bad]).code(), base::ErrorCode::integrity_failure);
        EXPECT_EQ(std::get<base::Error>(rewrapped[bad]).code(), base::ErrorCode::integrity_failure);
    }
    EXPECT_TRUE(std::get<base::SecretBytes>(unwrapped[0]).equals(made[2].plaintext.expose()));
    EXPECT_TRUE(std::get<base::SecretBytes>(unwrapped[4]).equals(made[0].plaintext.expose()));
    const auto& same = std::get<vault::Rewrapped>(rewrapped[0]);
    EXPECT_EQ(same.wrapped, made[2].wrapped) << "it is under the newest version already";
    EXPECT_EQ(same.master_key, master);
    EXPECT_EQ(same.commitment, base::commitment_of(made[2].plaintext));
    EXPECT_TRUE(keys.unwrap_many({}, "").empty());
    EXPECT_TRUE(keys.rewrap_many({}, "").empty());
}

// After the master key was rotated: an old data key comes back under the new version and opens to
// the same.
inline void expect_rewrap_after_rotation(vault::DataKeys& keys, const vault::DataKey& old,
                                         const vault::KeyContext& context) {
    const vault::WrappedKey item{old.wrapped, context};
    const auto outcomes = keys.rewrap_many({&item, 1}, "");
    ASSERT_EQ(outcomes.size(), 1U);
    const auto& anew = std::get<vault::Rewrapped>(outcomes[0]);
    EXPECT_GT(anew.master_key.version, old.key_version);
    EXPECT_NE(anew.wrapped, old.wrapped);
    EXPECT_EQ(anew.commitment, base::commitment_of(old.plaintext));
    EXPECT_TRUE(keys.unwrap(anew.wrapped, context, "").equals(old.plaintext.expose()));
    EXPECT_TRUE(keys.unwrap(old.wrapped, context, "").equals(old.plaintext.expose()));
}

}  // namespace tests
