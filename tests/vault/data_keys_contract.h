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
    const auto sealed = vault::seal(binding, key, base::as_bytes("{}"));
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

}  // namespace tests
