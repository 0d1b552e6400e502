// How fields of a context stand in a record.
#include "server/audit_context.h"

#include <gtest/gtest.h>

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

}  // namespace
