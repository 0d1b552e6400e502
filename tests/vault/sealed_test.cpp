#include "vault/sealed.h"

#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>

#include <fstream>
#include <functional>
#include <sstream>

#include "base/encoding.h"
#include "base/error.h"
#include "base/random.h"
#include "tests/support/expect_error.h"
#include "tests/vault/fake_data_keys.h"

namespace {

using vault::SealBinding;
using vault::SealedCredential;

const SealBinding binding{"acme", "instagram", 7};
constexpr std::string_view secret = R"({"access_token":"not-a-token"})";

struct Fixture {
    tests::FakeDataKeys keys;
    vault::DataKey key = keys.create({}, "");
    SealedCredential sealed = vault::seal(binding, key, base::as_bytes(secret));
    std::string open(const SealBinding& where) const {
        return std::string(vault::open(sealed, where, key.plaintext).expose_text());
    }
};

// The drawing of vault/sealed.h by OpenSSL, as a second implementation.
base::Bytes openssl_hkdf(base::ByteView key, std::string_view info) {
    const std::unique_ptr<EVP_PKEY_CTX, decltype(&EVP_PKEY_CTX_free)> context(
        EVP_PKEY_CTX_new_id(EVP_PKEY_HKDF, nullptr), EVP_PKEY_CTX_free);
    const auto salt = base::as_bytes("strongroom sealed credential 2");
    const auto label = base::as_bytes(info);
    base::Bytes out(32);
    std::size_t size = out.size();
    EXPECT_EQ(EVP_PKEY_derive_init(context.get()), 1);
    EXPECT_EQ(EVP_PKEY_CTX_set_hkdf_md(context.get(), EVP_sha512()), 1);
    EXPECT_EQ(
        EVP_PKEY_CTX_set1_hkdf_salt(context.get(), salt.data(), static_cast<int>(salt.size())), 1);
    EXPECT_EQ(EVP_PKEY_CTX_set1_hkdf_key(context.get(), key.data(), static_cast<int>(key.size())),
              1);
    EXPECT_EQ(
        EVP_PKEY_CTX_add1_hkdf_info(context.get(), label.data(), static_cast<int>(label.size())),
        1);
    EXPECT_EQ(EVP_PKEY_derive(context.get(), out.data(), &size), 1);
    return out;
}

base::Bytes drawn_aad(const SealBinding& where) {
    std::string aad = "SRsc\x02";
    for (const auto& text : {where.owner, where.name}) {
        aad += static_cast<char>(text.size() >> 8U);
        aad += static_cast<char>(text.size() & 0xFFU);
        aad += text;
    }
    for (int shift = 56; shift >= 0; shift -= 8) {
        aad += static_cast<char>((where.version >> static_cast<unsigned>(shift)) & 0xFFU);
    }
    return base::to_bytes(base::as_bytes(aad));
}

std::optional<std::string> openssl_open(const SealedCredential& sealed, const SealBinding& where,
                                        base::ByteView data_key) {
    if (openssl_hkdf(data_key, "key commitment") !=
        base::Bytes(sealed.commitment.begin(), sealed.commitment.end())) {
        return std::nullopt;
    }
    const auto key = openssl_hkdf(data_key, "record key");
    const auto aad = drawn_aad(where);
    const std::unique_ptr<EVP_CIPHER_CTX, decltype(&EVP_CIPHER_CTX_free)> context(
        EVP_CIPHER_CTX_new(), EVP_CIPHER_CTX_free);
    const auto body = static_cast<int>(sealed.ciphertext.size() - vault::sealed_tag_bytes);
    base::Bytes tag(sealed.ciphertext.begin() + body, sealed.ciphertext.end());
    std::string plaintext(static_cast<std::size_t>(body), '\0');
    auto* out = reinterpret_cast<unsigned char*>(plaintext.data());
    int size = 0;
    EVP_DecryptInit_ex(context.get(), EVP_aes_256_gcm(), nullptr, key.data(), sealed.iv.data());
    EVP_DecryptUpdate(context.get(), nullptr, &size, aad.data(), static_cast<int>(aad.size()));
    EVP_DecryptUpdate(context.get(), out, &size, sealed.ciphertext.data(), body);
    EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_GCM_SET_TAG, 16, tag.data());
    if (EVP_DecryptFinal_ex(context.get(), out + size, &size) != 1) return std::nullopt;
    return plaintext;
}

std::string read_vectors(const std::string& name) {
    std::ifstream file(STRONGROOM_VECTORS "/" + name);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
}

TEST(Sealed, OpensToWhatWasSealed) {
    const Fixture fixture;
    EXPECT_EQ(fixture.open(binding), secret);
    EXPECT_EQ(fixture.sealed.key_id, fixture.keys.key_id());
    EXPECT_EQ(fixture.sealed.key_version, tests::FakeDataKeys::key_version);
}

TEST(Sealed, AnEmptyAndALargestPlaintextOpen) {
    Fixture fixture;
    for (const std::size_t size : {std::size_t{0}, vault::max_plaintext_bytes}) {
        const std::string plaintext(size, 'x');
        fixture.sealed = vault::seal(binding, fixture.key, base::as_bytes(plaintext));
        const std::string text = vault::to_text(fixture.sealed);
        EXPECT_LE(text.size(), vault::max_sealed_bytes);
        fixture.sealed = vault::parse_stored(text);
        EXPECT_EQ(fixture.open(binding), plaintext);
    }
    const std::string too_long(vault::max_plaintext_bytes + 1, 'x');
    EXPECT_ERROR(invalid_argument, vault::seal(binding, fixture.key, base::as_bytes(too_long)));
}

TEST(Sealed, OpenSslOpensWhatBotanSealed) {
    for (const auto* owner : {"a", "acme", "tenant:42"}) {
        const Fixture fixture;
        const SealBinding where{owner, std::string(300, 'n'), 1ULL << 40U};
        const auto sealed = vault::seal(where, fixture.key, base::as_bytes(secret));
        EXPECT_EQ(openssl_open(sealed, where, fixture.key.plaintext.expose()), std::string(secret));
    }
}

TEST(Sealed, VectorsOfAnotherImplementationHoldInBothDirections) {
    const auto document =
        base::parse_json(read_vectors("sealed_credential_v2.json"), {.bytes = 1UL << 20U});
    base::JsonReader top(document);
    std::size_t opened = 0;
    for (const auto& value : top.required_array("vectors", 1000)) {
        base::JsonReader vector(value);
        const std::string name(vector.required_string("name", 100));
        const SealBinding where{
            std::string(vector.required_string("owner", 200)),
            std::string(vector.required_string("credential", 200)),
            static_cast<std::uint64_t>(vector.required_integer("version", 1, INT64_MAX))};
        const base::SecretBytes key(*base::parse_hex(vector.required_string("data_key", 64)));
        const std::string plaintext(vector.required_string("plaintext", 10'000));
        const bool opens = vector.required_string("expect", 20) == "opens";
        const auto text = base::to_json(vector.required_value("sealed"));
        vector.refuse_unknown();
        if (opens) {
            const auto sealed = vault::parse_stored(text);
            EXPECT_EQ(vault::open(sealed, where, key).expose_text(), plaintext) << name;
            EXPECT_EQ(openssl_open(sealed, where, key.expose()), plaintext) << name;
            EXPECT_EQ(vault::to_text(sealed), std::string_view(text)) << name;
            ++opened;
        } else {
            SCOPED_TRACE(name);
            EXPECT_ERROR(integrity_failure, vault::open(vault::parse_stored(text), where, key));
        }
    }
    EXPECT_GE(opened, 5U);
}

TEST(Sealed, VectorsOfValuesHold) {
    const auto document =
        base::parse_json(read_vectors("sealed_value_v2.json"), {.bytes = 1UL << 20U});
    base::JsonReader top(document);
    std::size_t opened = 0;
    std::size_t refused = 0;
    for (const auto& value : top.required_array("vectors", 1000)) {
        base::JsonReader vector(value);
        const std::string name(vector.required_string("name", 100));
        const vault::ValueBinding where{std::string(vector.required_string("owner", 2000)),
                                        std::string(vector.required_string("context", 200))};
        const base::SecretBytes key(*base::parse_hex(vector.required_string("data_key", 64)));
        const std::string plaintext(vector.required_string("plaintext", 10'000));
        const bool opens = vector.required_string("expect", 20) == "opens";
        const auto& given = vector.required_value("sealed");
        vector.refuse_unknown();
        SCOPED_TRACE(name);
        if (opens) {
            const auto sealed = vault::parse_given(given);
            EXPECT_EQ(vault::open(sealed, where, key).expose_text(), plaintext);
            EXPECT_EQ(vault::to_text(sealed), std::string_view(base::to_json(given)));
            ++opened;
        } else {
            EXPECT_ERROR(integrity_failure, vault::open(vault::parse_given(given), where, key));
            ++refused;
        }
    }
    EXPECT_GE(opened, 7U);
    EXPECT_GE(refused, 12U);
}

TEST(Sealed, AValueIsNoCredentialAndACredentialNoValue) {
    const Fixture fixture;
    const vault::ValueBinding place{binding.owner, binding.name};
    const auto value = vault::seal(place, fixture.key, base::as_bytes(secret));
    EXPECT_EQ(vault::open(value, place, fixture.key.plaintext).expose_text(), secret);
    for (const std::uint64_t version : {0U, 1U, 7U}) {
        const SealBinding credential{binding.owner, binding.name, version};
        EXPECT_ERROR(integrity_failure, vault::open(value, credential, fixture.key.plaintext));
    }
    EXPECT_ERROR(integrity_failure, vault::open(fixture.sealed, place, fixture.key.plaintext));
}

TEST(Sealed, AGivenValueOfAnotherFormatIsNamedAndADamagedOneFailsToOpen) {
    const Fixture fixture;
    EXPECT_NO_THROW(vault::parse_given(base::parse_json(vault::to_text(fixture.sealed))));
    for (const auto* text :
         {R"({"__enc":1,"kid":"v1"})", R"({"__enc":"2"})", R"({"__enc":null})", "{}", "[]", "7"}) {
        EXPECT_ERROR_SAYING(invalid_argument, "__enc", vault::parse_given(base::parse_json(text)));
    }
    for (const auto* text :
         {R"({"__enc":2})", R"({"__enc":2,"kid":7})", R"({"__enc":2,"more":{}})"}) {
        EXPECT_ERROR(integrity_failure, vault::parse_given(base::parse_json(text)));
    }
}

TEST(Sealed, EveryFlippedBitOfEveryByteFieldIsAnIntegrityFailure) {
    const Fixture fixture;
    const std::vector<std::function<std::span<std::uint8_t>(SealedCredential&)>> fields = {
        [](SealedCredential& s) { return std::span<std::uint8_t>(s.commitment); },
        [](SealedCredential& s) { return std::span<std::uint8_t>(s.iv); },
        [](SealedCredential& s) { return std::span<std::uint8_t>(s.ciphertext); },
    };
    for (const auto& field : fields) {
        SealedCredential copy = fixture.sealed;
        for (std::size_t bit = 0; bit < field(copy).size() * 8; ++bit) {
            const auto mask = static_cast<std::uint8_t>(1U << (bit % 8));
            field(copy)[bit / 8] ^= mask;
            EXPECT_ERROR(integrity_failure, vault::open(copy, binding, fixture.key.plaintext));
            field(copy)[bit / 8] ^= mask;
        }
        EXPECT_NO_THROW(vault::open(copy, binding, fixture.key.plaintext));
    }
}

TEST(Sealed, EveryFlippedBitOfTheTextIsAnIntegrityFailure) {
    Fixture fixture;
    const std::string text = vault::to_text(fixture.sealed);
    for (std::size_t bit = 0; bit < text.size() * 8; ++bit) {
        std::string flipped = text;
        flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
        SCOPED_TRACE(testing::Message() << "byte " << bit / 8);
        EXPECT_ERROR(integrity_failure, [&] {
            const auto sealed = vault::parse_stored(flipped);
            const auto key = fixture.keys.unwrap(sealed.wrapped_data_key, {}, "");
            return vault::open(sealed, binding, key);
        }());
    }
}

TEST(Sealed, AnyOtherBindingIsAnIntegrityFailure) {
    const Fixture fixture;
    for (const SealBinding& where :
         {SealBinding{"acmf", "instagram", 7}, SealBinding{"acme", "instagrao", 7},
          SealBinding{"acme", "instagram", 6}, SealBinding{"acme", "instagram", 8},
          SealBinding{"acmei", "nstagram", 7}, SealBinding{"instagram", "acme", 7},
          SealBinding{"acme", "instagram", 7ULL << 32U}}) {
        SCOPED_TRACE(testing::Message() << where.owner << "/" << where.name);
        EXPECT_ERROR(integrity_failure, fixture.open(where));
    }
}

TEST(Sealed, AnotherDataKeyIsAnIntegrityFailureEvenWithItsCommitment) {
    const Fixture one;
    const Fixture other;
    EXPECT_ERROR(integrity_failure, vault::open(one.sealed, binding, other.key.plaintext));
    SealedCredential mixed = one.sealed;
    mixed.commitment = other.sealed.commitment;
    EXPECT_ERROR(integrity_failure, vault::open(mixed, binding, other.key.plaintext));
    EXPECT_ERROR(integrity_failure, vault::open(mixed, binding, one.key.plaintext));
    EXPECT_ERROR(integrity_failure, vault::open(one.sealed, binding, base::SecretBytes(31)));
}

TEST(Sealed, TheCommitmentIsComparedBeforeTheCiphertextIsTouched) {
    // Same record key and IV, only kc differs: the ciphertext alone would open.
    Fixture fixture;
    fixture.sealed.commitment[31] ^= 0x80;
    try {
        static_cast<void>(fixture.open(binding));
        FAIL();
    } catch (const base::Error& error) {
        EXPECT_NE(error.detail().find("committed"), std::string::npos) << error.detail();
    }
}

TEST(Sealed, KidMustNameTheMasterKeyOfDek) {
    Fixture fixture;
    fixture.sealed.key_version = 4;
    EXPECT_ERROR(integrity_failure, fixture.open(binding));
    EXPECT_ERROR(integrity_failure, vault::parse_stored(vault::to_text(fixture.sealed)));
    EXPECT_ERROR_SAYING(invalid_argument, "\"dek\"",
                        vault::parse_sealed(base::parse_json(vault::to_text(fixture.sealed))));
}

TEST(Sealed, AnImproperDataKeyIsNotSealedUnder) {
    Fixture fixture;
    fixture.key.key_version = 4;  // not what its wrapped form says
    EXPECT_ERROR(internal, vault::seal(binding, fixture.key, base::as_bytes(secret)));
    fixture.key = fixture.keys.create({}, "");
    fixture.key.plaintext.shrink(16);
    EXPECT_ERROR(internal, vault::seal(binding, fixture.key, base::as_bytes(secret)));
    EXPECT_ERROR(internal,
                 vault::seal({"", "name", 1}, fixture.keys.create({}, ""), base::as_bytes(secret)));
}

TEST(Sealed, ComplaintsAboutACallersValueNameTheField) {
    const Fixture fixture;
    const std::string text = vault::to_text(fixture.sealed);
    const auto refused = [&](const std::string& from, const std::string& to,
                             const std::string& field) {
        std::string changed = text;
        const auto at = changed.find(from);
        ASSERT_NE(at, std::string::npos) << from;
        changed.replace(at, from.size(), to);
        SCOPED_TRACE(changed);
        EXPECT_ERROR_SAYING(invalid_argument, "\"" + field + "\"",
                            vault::parse_sealed(base::parse_json(changed)));
        SCOPED_TRACE(changed);
        EXPECT_ERROR(integrity_failure, vault::parse_stored(changed));
    };
    refused("\"__enc\":2", "\"__enc\":3", "__enc");
    refused("\"__enc\":2", "\"__enc\":\"2\"", "__enc");
    refused("\"__enc\":2,", "", "__enc");
    refused("\"__enc\":2,", "\"__enc\":2,\"more\":1,", "more");
    refused("\"kid\":\"", "\"kid\":\"x", "kid");
    refused("/3\"", "/03\"", "kid");
    refused("/3\"", "/+3\"", "kid");
    refused("/3\"", "/4294967296\"", "kid");
    refused("/3\"", "\"", "kid");
    refused("\"dek\":\"U1Jk", "\"dek\":\"AAAA", "dek");
    refused("\"dek\":\"", "\"dek\":7,\"x\":\"", "dek");
    refused("\"kc\":\"", "\"kc\":\"AAAA", "kc");
    refused("\"iv\":\"", "\"iv\":\"AAAA", "iv");
    refused("\"ct\":\"", "\"ct\":\"=", "ct");
    refused("\"ct\":", "\"cd\":", "ct");
}

TEST(Sealed, EachSealIsFresh) {
    const Fixture fixture;
    const auto again = vault::seal(binding, fixture.key, base::as_bytes(secret));
    EXPECT_NE(again.iv, fixture.sealed.iv);
    EXPECT_NE(again.ciphertext, fixture.sealed.ciphertext);
}

TEST(Sealed, ASealedValueIsKnownBySight) {
    const Fixture fixture;
    EXPECT_TRUE(vault::is_sealed(base::parse_json(vault::to_text(fixture.sealed))));
    EXPECT_TRUE(vault::is_sealed(base::parse_json(R"({"__enc":1})")));
    EXPECT_FALSE(vault::is_sealed(base::parse_json(secret)));
    EXPECT_FALSE(vault::is_sealed(base::parse_json("[1]")));
}

}  // namespace
