// How fields of a context stand in a record.
#include "server/audit_context.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/encoding.h"
#include "server/audit_query.h"
#include "server/authorizer.h"
#include "server/policy.h"
#include "tests/server/audit_house.h"
#include "tests/support/expect_error.h"

namespace {

using server::ContextMode;

const std::map<std::string, std::string> context{
    {"note", "private"}, {"tenant", "acme"}, {"user", "u-17"}};

std::string written(ContextMode others, std::map<std::string, ContextMode, std::less<>> fields) {
    const server::AuditContext rules({others, std::move(fields)},
                                     base::SecretBytes(base::as_bytes("0123456789abcdef")));
    base::JsonWriter out;
    out.begin_object();
    rules.write(out, context);
    out.end_object();
    return std::string(out.text());
}

// By Python's hmac: hmac.new(b"0123456789abcdef", b"user\0u-17", "sha256").hexdigest()
constexpr const char* hash_of_user =
    "e2d241ed9e9cfe5ef395f1eab7f6912acdcadc116c8656744b596e237a7cb6f8";

TEST(AuditContext, EachFieldStandsInClearHashedOrNotAtAll) {
    EXPECT_EQ(written(ContextMode::clear, {}),
              R"({"context":{"note":"private","tenant":"acme","user":"u-17"}})");
    EXPECT_EQ(
        written(ContextMode::clear, {{"user", ContextMode::hash}, {"note", ContextMode::drop}}),
        std::string(R"({"context":{"tenant":"acme"},"context_hmac":{"user":")") + hash_of_user +
            "\"}}");
    EXPECT_EQ(written(ContextMode::drop, {{"tenant", ContextMode::clear}}),
              R"({"context":{"tenant":"acme"}})");
    const std::string hashed = written(ContextMode::hash, {{"note", ContextMode::drop}});
    EXPECT_NE(hashed.find(hash_of_user), std::string::npos);
    EXPECT_EQ(hashed.find("acme"), std::string::npos);
    EXPECT_EQ(hashed.find("note"), std::string::npos);
}

TEST(AuditContext, SameValueUnderAnotherNameOrKeyHashesOtherwise) {
    const auto hash = [](std::string_view key, std::string_view name, std::string_view value) {
        return server::context_hash(base::as_bytes(key), name, value);
    };
    EXPECT_EQ(hash("0123456789abcdef", "user", "u-17"), hash_of_user);
    EXPECT_NE(hash("0123456789abcdef", "account", "u-17"), hash_of_user);
    EXPECT_NE(hash("0123456789abcdeF", "user", "u-17"), hash_of_user);
    EXPECT_NE(hash("0123456789abcdef", "use", "ru-17"), hash_of_user);
}

TEST(AuditContext, ShortKeyIsRefused) {
    EXPECT_ERROR(
        invalid_argument,
        server::AuditContext({ContextMode::hash, {}}, base::SecretBytes(base::as_bytes("short"))));
    EXPECT_NO_THROW(server::AuditContext({ContextMode::drop, {}}, base::SecretBytes()));
}

// What a record's contexts look like, one object for each.
std::vector<std::string> written_together(
    const server::AuditContext* rules,
    const std::vector<std::map<std::string, std::string>>& contexts) {
    server::RecordContexts record(rules);
    std::vector<std::string> all;
    for (const auto& one : contexts) {
        base::JsonWriter out;
        out.begin_object();
        record.write(out, one);
        out.end_object();
        all.emplace_back(out.text());
    }
    return all;
}

// Leaves room for nothing.
const std::map<std::string, std::string> all_of_the_room{
    {"a", std::string(server::room_for_contexts - 64, 'x')}};
const std::map<std::string, std::string> odd_context{
    {"B", "\"\\\n\x01\x7F"}, {"a", "\xC3\xA9"}, {"c", std::string(64, 'x')}};

// By Python's hashlib and hmac, of
// json.dumps(context, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
constexpr const char* sha256_of_odd_context =
    "95b910707f56554cd8f064004ed324f67b56eeb07f1132a8be1edeeeb3bae68a";
constexpr const char* hmac_of_odd_context =
    "3a54a21aac7f59eaa5863cfb378f18e5576a1aad90f16e9cfcef3db6c1ec2ce6";
// The same without "a".
constexpr const char* hmac_of_odd_context_without_a =
    "68513a2ba929b3f10653dece587ad6ea34048d2ba61fdbafb0f6b1d6b8afd918";

TEST(AuditContext, ContextThatHasNoRoomInTheRecordIsNamedByItsDigest) {
    const server::AuditContext clear({ContextMode::clear, {{"a", ContextMode::clear}}}, {});
    for (const server::AuditContext* rules :
         {static_cast<const server::AuditContext*>(nullptr), &clear}) {
        const auto all = written_together(rules, {context, all_of_the_room, odd_context, context});
        EXPECT_EQ(all[0], R"({"context":{"note":"private","tenant":"acme","user":"u-17"}})");
        EXPECT_NE(all[1].find(R"({"context_digest":{"sha256":")"), std::string::npos)
            << "no room left beside the first";
        EXPECT_NE(all[2].find(R"({"context":{"B":)"), std::string::npos)
            << "room is for who fits in it";
        EXPECT_EQ(all[3], all[0]);
    }
    const auto full = written_together(nullptr, {all_of_the_room, odd_context});
    EXPECT_EQ(full[0].size(),
              std::string_view(R"({"context":{"a":""}})").size() + server::room_for_contexts - 64);
    EXPECT_EQ(full[1],
              std::string(R"({"context_digest":{"sha256":")") + sha256_of_odd_context + "\"}}");
}

TEST(AuditContext, DigestIsKeyedWhereFieldsAreHashedAndKnowsNoDroppedField) {
    const auto digest = [](std::map<std::string, ContextMode, std::less<>> fields) {
        const server::AuditContext rules({ContextMode::clear, std::move(fields)},
                                         base::SecretBytes(base::as_bytes("0123456789abcdef")));
        return written_together(&rules, {{{"z", all_of_the_room.at("a")}}, odd_context}).back();
    };
    const auto expected = [](const char* hash) {
        return std::string(R"({"context_digest":{"hmac_sha256":")") + hash + "\"}}";
    };
    EXPECT_EQ(digest({{"B", ContextMode::hash}}), expected(hmac_of_odd_context));
    EXPECT_EQ(digest({{"B", ContextMode::hash}, {"a", ContextMode::drop}}),
              expected(hmac_of_odd_context_without_a));
}

TEST(AuditContext, DigestThatCouldBeGuessedIsLeftOut) {
    const server::AuditContext rules({ContextMode::clear, {{"user", ContextMode::drop}}}, {});
    EXPECT_EQ(written_together(&rules, {all_of_the_room, odd_context}).back(),
              R"({"context_left_out":true})");
}

// Values of a byte each grow to hashes of 64.
TEST(AuditContext, RoomIsForWhatIsWrittenNotForWhatWasSent) {
    const server::AuditContext rules({ContextMode::hash, {}},
                                     base::SecretBytes(base::as_bytes("0123456789abcdef")));
    std::map<std::string, std::string> small;
    for (int i = 0; i < 64; ++i) small[std::to_string(i)] = "1";
    std::map<std::string, std::string> controls{{"a", std::string(8192, '\x01')}};
    std::size_t hashed = 0;
    for (const auto& one : written_together(&rules, std::vector(2000, small))) hashed += one.size();
    std::size_t escaped = 0;
    for (const auto& one : written_together(nullptr, std::vector(2000, controls)))
        escaped += one.size();
    constexpr std::size_t digests = 2000UL * 128;
    EXPECT_LT(hashed, server::room_for_contexts + digests);
    EXPECT_LT(escaped, server::room_for_contexts + digests);
}

// Each context another, of `context_bytes`; each key another.
server::Operation operation_on_many(std::size_t decisions, std::size_t context_bytes) {
    const server::Authorizer authorizer(server::parse_policy(
        R"({"version":1,"roles":{"app":[{"id":"r1","effect":"allow","actions":["*"],"resources":["*"]}]},
            "bindings":[{"caller":"spiffe://strongroom/app","roles":["app"]}]})",
        {}));
    server::Operation operation = tests::operation_of("spiffe://strongroom/app");
    for (std::size_t i = 0; i < decisions; ++i) {
        server::Resource key;
        key.kind = "key";
        key.id = base::Uuid::random().to_string();
        authorizer.authorize(
            operation, {"unwrap_data_key"}, key,
            {{"item", std::to_string(i)}, {"text", std::string(context_bytes, 'x')}});
        operation.add_item({key.id + "/1", "ok", {}, std::to_string(i), i});
    }
    return operation;
}

TEST(AuditContext, LargestRecordOfManyDecisionsIsBoundedAndNamesThemAll) {
    constexpr std::size_t decisions = 1000;
    const server::Operation operation = operation_on_many(decisions, 16UL * 1024);
    std::string line;
    server::append_audit_line(
        line, 1,
        server::audit_fields({.directory = "unused", .daemon = "d", .node = "n"}, operation,
                             {"ok", "", 200}, operation.started()),
        server::first_previous());
    EXPECT_LT(line.size(), 2UL * 1024 * 1024);
    EXPECT_GT(line.size(), server::room_for_contexts) << "the room is used";
    EXPECT_EQ(server::sequence_of(line), 1U);
    const auto row = server::read_audit_row(line);
    ASSERT_TRUE(row);
    EXPECT_EQ(row->rules.size(), decisions);
    for (const auto& decided : operation.decided()) {
        EXPECT_NE(
            std::find(row->resources.begin(), row->resources.end(), "key:" + decided.resource.id),
            row->resources.end());
    }
}

}  // namespace
