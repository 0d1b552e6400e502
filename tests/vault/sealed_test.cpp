#include "vault/sealed.h"

#include <gtest/gtest.h>

#include <fstream>
#include <functional>
#include <set>
#include <sstream>

#include "base/encoding.h"
#include "base/error.h"
#include "base/random.h"
#include "tests/support/expect_error.h"
#include "tests/vault/fake_data_keys.h"
#include "tests/vault/openssl_seals.h"

namespace {

using vault::SealBinding;
using vault::SealedCredential;

constexpr base::Time noon{std::chrono::milliseconds(1'800'000'000'000)};
const SealBinding binding{"acme", "instagram", 7, noon, noon + std::chrono::hours(1), 3};
const vault::CredentialInfo whole{.id = {"acme", "instagram"},
                                  .created_at = noon - std::chrono::hours(9),
                                  .updated_at = noon,
                                  .metadata = R"({"account":"17841"})",
                                  .versions = {},
                                  .tags = {{"env", "prod"}, {"team", "payments"}},
                                  .first_version = 2};
constexpr std::string_view secret = R"({"access_token":"not-a-token"})";

struct Fixture {
    tests::FakeDataKeys keys;
    vault::DataKey key = keys.create({}, "");
    SealedCredential sealed =
        vault::seal(binding, vault::attributes_of(whole), key, base::as_bytes(secret));
    std::string open(const SealBinding& where) const {
        return std::string(vault::open(sealed, where, key.plaintext).expose_text());
    }
};

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
        fixture.sealed = vault::seal(binding, {}, fixture.key, base::as_bytes(plaintext));
        const std::string text = vault::to_text(fixture.sealed);
        EXPECT_LE(text.size(), vault::max_sealed_bytes);
        fixture.sealed = vault::parse_stored(text);
        EXPECT_EQ(fixture.open(binding), plaintext);
    }
    const std::string too_long(vault::max_plaintext_bytes + 1, 'x');
    EXPECT_ERROR(invalid_argument, vault::seal(binding, {}, fixture.key, base::as_bytes(too_long)));
}

TEST(Sealed, OpenSslOpensWhatBotanSealed) {
    for (const auto* owner : {"a", "acme", "tenant:42"}) {
        const Fixture fixture;
        SealBinding where{owner, std::string(300, 'n'), 1ULL << 40U, noon};
        for (const auto& expires_at : {std::optional<base::Time>(), std::optional(noon)}) {
            where.expires_at = expires_at;
            const auto sealed = vault::seal(where, vault::attributes_of(whole), fixture.key,
                                            base::as_bytes(secret));
            EXPECT_EQ(tests::openssl_open(sealed, where, fixture.key.plaintext.expose()),
                      std::string(secret));
        }
    }
    for (const auto& tags : {vault::Tags{}, whole.tags}) {
        auto info = whole;
        info.tags = tags;
        EXPECT_EQ(vault::attributes_of(info), tests::openssl_attributes(info));
    }
}

TEST(Sealed, ACredentialOfFormat2OpensAndNeitherFormatCanBeMadeTheOther) {
    const Fixture fixture;
    const auto& key = fixture.key.plaintext;
    const SealBinding others{binding.owner, binding.name, binding.version};
    const auto old = vault::parse_stored(
        vault::to_text(tests::openssl_seal_of_format_2(binding, fixture.key, secret)));
    EXPECT_EQ(vault::open(old, binding, key).expose_text(), secret);
    EXPECT_EQ(vault::open(old, others, key).expose_text(), secret) << "it binds nothing else";
    SealedCredential lowered = fixture.sealed;
    lowered.attributes.reset();
    EXPECT_ERROR(integrity_failure, vault::open(lowered, binding, key));
    EXPECT_ERROR(integrity_failure, vault::open(lowered, others, key));
    SealedCredential raised = old;
    raised.attributes = vault::attributes_of(whole);
    EXPECT_ERROR(integrity_failure, vault::open(raised, binding, key));
}

TEST(Sealed, AttributesAreOthersWhenAnythingOfThemIs) {
    std::vector<vault::CredentialInfo> all(12, whole);
    all[11].first_version = 8;
    all[1].created_at += std::chrono::milliseconds(1);
    all[2].updated_at += std::chrono::milliseconds(1);
    all[3].metadata = R"({"account":"17842"})";
    all[4].metadata = "{}";
    all[5].tags["team"] = "search";
    all[6].tags.erase("team");
    all[7].tags.clear();
    all[8].tags = {{"env", "prodt"}, {"eam", "payments"}};
    all[9].tags = {{"env", "prod"}, {"team", "payments"}, {"x", "y"}};
    all[10].tags = {{"env", "payments"}, {"team", "prod"}};
    std::set<vault::AttributesDigest> digests;
    for (const auto& info : all) digests.insert(vault::attributes_of(info));
    EXPECT_EQ(digests.size(), all.size());
    auto same = whole;
    same.id = {"globex", "other"};
    same.versions.emplace_back();
    EXPECT_EQ(vault::attributes_of(same), vault::attributes_of(whole)) << "those have other bonds";
}

TEST(Sealed, TheMasterKeyOfATextOfEitherFormatIsReadFromItsBeginning) {
    const Fixture fixture;
    const vault::MasterKeyVersion key{fixture.keys.key_id(), tests::FakeDataKeys::key_version};
    for (const auto& sealed :
         {fixture.sealed, tests::openssl_seal_of_format_2(binding, fixture.key, secret)}) {
        const std::string head = vault::to_text(sealed).substr(0, vault::sealed_head_bytes);
        EXPECT_EQ(vault::named_master_key(head), key) << head;
        std::string other = head;
        other[other.find(':') + 1] = '4';
        EXPECT_FALSE(vault::named_master_key(other)) << other;
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
            EXPECT_EQ(tests::openssl_open(sealed, where, key.expose()), plaintext) << name;
            EXPECT_EQ(vault::to_text(sealed), std::string_view(text)) << name;
            ++opened;
        } else {
            SCOPED_TRACE(name);
            EXPECT_ERROR(integrity_failure, vault::open(vault::parse_stored(text), where, key));
        }
    }
    EXPECT_GE(opened, 5U);
}

std::optional<base::Time> vector_time(base::JsonReader& reader, std::string_view name) {
    const auto time = reader.optional_integer(name, -(1LL << 60), 1LL << 60);
    if (!time) return std::nullopt;
    return base::from_milliseconds(*time);
}

// What belongs to the credential as a whole, as the vector says that the database has it.
vault::CredentialInfo vector_whole(const base::JsonValue& value) {
    base::JsonReader reader(value);
    vault::CredentialInfo info{.id = {},
                               .created_at = vector_time(reader, "created_at").value(),
                               .updated_at = vector_time(reader, "updated_at").value(),
                               .metadata = std::string(reader.required_string("metadata", 10'000)),
                               .versions = {}};
    info.first_version =
        static_cast<std::uint64_t>(reader.required_integer("first_version", 0, INT64_MAX));
    info.tags = reader.optional_string_map("tags", 100, 10'000);
    reader.refuse_unknown();
    return info;
}

TEST(Sealed, VectorsOfFormat3Hold) {
    const auto document =
        base::parse_json(read_vectors("sealed_credential_v3.json"), {.bytes = 1UL << 20U});
    base::JsonReader top(document);
    std::size_t opened = 0;
    std::size_t refused = 0;
    for (const auto& value : top.required_array("vectors", 1000)) {
        base::JsonReader vector(value);
        const std::string name(vector.required_string("name", 100));
        SealBinding where{
            std::string(vector.required_string("owner", 200)),
            std::string(vector.required_string("credential", 200)),
            static_cast<std::uint64_t>(vector.required_integer("version", 1, INT64_MAX)),
            vector_time(vector, "created_at").value(), vector_time(vector, "expires_at")};
        if (const auto from = vector.optional_integer("restored_from", 1, INT64_MAX))
            where.restored_from = static_cast<std::uint64_t>(*from);
        const auto info = vector_whole(vector.required_value("whole"));
        const base::SecretBytes key(*base::parse_hex(vector.required_string("data_key", 64)));
        const std::string plaintext(vector.required_string("plaintext", 10'000));
        const bool opens = vector.required_string("expect", 20) == "opens";
        const auto text = base::to_json(vector.required_value("sealed"));
        vector.refuse_unknown();
        SCOPED_TRACE(name);
        if (opens) {
            const auto sealed = vault::parse_stored(text);
            EXPECT_EQ(vault::open(sealed, where, key).expose_text(), plaintext);
            EXPECT_EQ(sealed.attributes, vault::attributes_of(info));
            EXPECT_EQ(tests::openssl_open(sealed, where, key.expose()), plaintext);
            EXPECT_EQ(vault::to_text(sealed), std::string_view(text));
            ++opened;
        } else {
            EXPECT_ERROR(integrity_failure, [&] {
                const auto sealed = vault::parse_stored(text);
                auto secret_of_it = vault::open(sealed, where, key);
                if (sealed.attributes != vault::attributes_of(info))
                    throw base::decryption_failed("attributes");
                return secret_of_it;
            }());
            ++refused;
        }
    }
    EXPECT_GE(opened, 8U);
    EXPECT_GE(refused, 20U);
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
    SealedCredential marked = value;
    marked.attributes.emplace();
    EXPECT_ERROR(integrity_failure, vault::open(marked, place, fixture.key.plaintext));
}

TEST(Sealed, AGivenValueOfAnotherFormatIsNamedAndADamagedOneFailsToOpen) {
    const Fixture fixture;
    const auto value = vault::seal(vault::ValueBinding{"acme", "c"}, fixture.key, {});
    EXPECT_NO_THROW(vault::parse_given(base::parse_json(vault::to_text(value))));
    EXPECT_ERROR(integrity_failure,
                 vault::parse_given(base::parse_json(vault::to_text(fixture.sealed))));
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
        [](SealedCredential& s) { return std::span<std::uint8_t>(s.attributes.value()); },
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
    EXPECT_EQ(fixture.open(binding), secret);
    const std::vector<std::function<void(SealBinding&)>> changes = {
        [](auto& b) { b.owner = "acmf"; },
        [](auto& b) { b.name = "instagrao"; },
        [](auto& b) { b.version = 6; },
        [](auto& b) { b.version = 8; },
        [](auto& b) { b.owner = "acmei", b.name = "nstagram"; },
        [](auto& b) { b.owner = "instagram", b.name = "acme"; },
        [](auto& b) { b.version = 7ULL << 32U; },
        [](auto& b) { b.created_at += std::chrono::milliseconds(1); },
        [](auto& b) { b.created_at = base::Time{}; },
        [](auto& b) { *b.expires_at += std::chrono::milliseconds(1); },
        [](auto& b) { b.expires_at = base::Time{}; },
        [](auto& b) { b.expires_at.reset(); },
        [](auto& b) { b.restored_from = 4; },
        [](auto& b) { b.restored_from.reset(); },
    };
    for (std::size_t i = 0; i < changes.size(); ++i) {
        SealBinding where = binding;
        changes[i](where);
        SCOPED_TRACE(i);
        EXPECT_ERROR(integrity_failure, fixture.open(where));
    }
    SealBinding never = binding;
    never.expires_at.reset();
    const auto lasting = vault::seal(never, {}, fixture.key, base::as_bytes(secret));
    never.expires_at = base::Time{};
    EXPECT_ERROR(integrity_failure, vault::open(lasting, never, fixture.key.plaintext));
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
    EXPECT_ERROR(internal, vault::seal(binding, {}, fixture.key, base::as_bytes(secret)));
    fixture.key = fixture.keys.create({}, "");
    fixture.key.plaintext.shrink(16);
    EXPECT_ERROR(internal, vault::seal(binding, {}, fixture.key, base::as_bytes(secret)));
    EXPECT_ERROR(internal, vault::seal({"", "name", 1}, {}, fixture.keys.create({}, ""),
                                       base::as_bytes(secret)));
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
    refused("\"__enc\":3", "\"__enc\":4", "__enc");
    refused("\"__enc\":3", "\"__enc\":1", "__enc");
    refused("\"__enc\":3", "\"__enc\":\"3\"", "__enc");
    refused("\"__enc\":3,", "", "__enc");
    refused("\"__enc\":3,", "\"__enc\":3,\"more\":1,", "more");
    refused("\"__enc\":3", "\"__enc\":2", "attributes");
    refused("\"attributes\":\"", "\"attributes\":\"AAAA", "attributes");
    refused("\"attributes\":\"", "\"attributes\":7,\"x\":\"", "attributes");
    refused("\"attributes\":", "\"attribute\":", "attributes");
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
    const auto again = vault::seal(binding, {}, fixture.key, base::as_bytes(secret));
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
