// What importing for the older shapes needs: columns in clear beside the encrypted ones, for
// credentials and for sealed values, and owners that are UUIDs.
#include <gtest/gtest.h>

#include "base/error.h"
#include "vault/import/decoder.h"

namespace tests {
namespace {

using vault::ColumnText;
using vault::ImportColumns;
using vault::ImportDecoder;
using vault::ImportItem;
using vault::NoSecret;

base::JsonValue parsed(std::string_view text) {
    return base::parse_json(text, {.bytes = 1024UL * 1024});
}

std::string why_not(const vault::DecodedRecord& decoded) {
    const auto* why = std::get_if<vault::Unreadable>(&decoded);
    return why == nullptr ? "" : why->reason;
}

ImportColumns placed_columns() {
    ImportColumns columns;
    columns.owner = ColumnText("{tenant}");
    columns.name = ColumnText("{platform}");
    return columns;
}

ImportColumns columns_with_plain_ones() {
    ImportColumns columns = placed_columns();
    columns.secret = {"token"};
    columns.is_text = true;
    columns.wrap = "access_token";
    columns.plain = {{"client", "client_id"}, {"n", "n"}, {"ends", "token_expires_at", true}};
    columns.metadata = {"client", "ends", "plan"};
    return columns;
}

std::string plain_record(const std::string& rest) {
    return R"({"tenant":"a","platform":"x","token":"t",)" + rest + "}";
}

TEST(ImportPlainColumnsTest, PlainColumnsAreMembersOfTheSecretAndOfTheMetadata) {
    ImportColumns columns = columns_with_plain_ones();
    const std::string record =
        plain_record(R"("client":"c","n":1.50,"ends":"2030-01-31 14:00:00+02","plan":"p")");
    const auto decoded = ImportDecoder(columns, nullptr).decode(parsed(record));
    ASSERT_EQ(why_not(decoded), "");
    const auto& item = std::get<ImportItem>(decoded);
    EXPECT_EQ(
        base::to_json(item.secret),
        R"({"access_token":"t","client_id":"c","n":1.50,"token_expires_at":"2030-01-31T12:00:00.000Z"})");
    EXPECT_EQ(base::to_json(*item.metadata),
              R"({"client_id":"c","token_expires_at":"2030-01-31T12:00:00.000Z","plan":"p"})");
    columns.wrap = "";
    columns.plain.resize(1);
    const auto by_column = ImportDecoder(columns, nullptr).decode(parsed(record));
    EXPECT_EQ(base::to_json(std::get<ImportItem>(by_column).secret),
              R"({"token":"t","client_id":"c"})");
    columns.is_text = false;
    const auto beside =
        ImportDecoder(columns, nullptr)
            .decode(parsed(R"({"tenant":"a","platform":"x","token":{"k":1},"client":"c"})"));
    EXPECT_EQ(base::to_json(std::get<ImportItem>(beside).secret), R"({"k":1,"client_id":"c"})");
}

TEST(ImportPlainColumnsTest, PlainColumnsGoIntoSealedValuesAsWell) {
    ImportColumns columns = columns_with_plain_ones();
    columns.kind = vault::ImportKind::values;
    columns.owner = columns.name = {};
    columns.metadata.clear();
    columns.context = ColumnText("clients:{platform}");
    const std::string rest = R"("client":"c","n":7,"ends":"2030-01-31 14:00:00+02")";
    const ImportDecoder decoder(columns, nullptr);
    const auto decoded = decoder.decode(parsed(plain_record(rest)));
    ASSERT_EQ(why_not(decoded), "");
    const auto& item = std::get<ImportItem>(decoded);
    EXPECT_EQ(item.context, "clients:x");
    EXPECT_EQ(
        base::to_json(item.secret),
        R"({"access_token":"t","client_id":"c","n":7,"token_expires_at":"2030-01-31T12:00:00.000Z"})");
    // What is sealed has them already.
    const auto sealed =
        decoder.decode(parsed(R"({"platform":"x","token":{"__enc":2},"client":"c"})"));
    ASSERT_EQ(why_not(sealed), "");
    EXPECT_TRUE(std::get<ImportItem>(sealed).is_sealed);
    EXPECT_EQ(base::to_json(std::get<ImportItem>(sealed).secret), R"({"__enc":2})");
}

TEST(ImportPlainColumnsTest, PlainColumnsAloneAreNoSecretAndMustBeThere) {
    ImportColumns columns = columns_with_plain_ones();
    const ImportDecoder decoder(columns, nullptr);
    for (const auto& [rest, part] : std::vector<std::pair<std::string, std::string>>{
             {R"("client":"c","n":1)", "a plain column is missing"},
             {R"("client":"c","n":1,"ends":"soon")", "no time with an offset"},
             {R"("client":"c","n":1,"ends":"2030-01-31 12:00:00")", "--utc"}}) {
        const std::string why = why_not(decoder.decode(parsed(plain_record(rest))));
        EXPECT_NE(why.find(part), std::string::npos) << rest << ": " << why;
    }
    const auto without = decoder.decode(parsed(plain_record(R"("client":"c","n":"","ends":null)")));
    EXPECT_EQ(base::to_json(std::get<ImportItem>(without).secret),
              R"({"access_token":"t","client_id":"c"})");
    EXPECT_TRUE(std::holds_alternative<NoSecret>(decoder.decode(
        parsed(R"({"tenant":"a","platform":"x","token":null,"client":"c","n":1,"ends":1})"))));
    columns.may_lack_columns = true;
    EXPECT_EQ(why_not(ImportDecoder(columns, nullptr).decode(parsed(plain_record(R"("n":1)")))),
              "");
    columns.plain = {{"client", "k"}};
    columns.is_text = false;
    const auto clash = parsed(R"({"tenant":"a","platform":"x","token":{"k":1},"client":"c"})");
    EXPECT_NE(why_not(ImportDecoder(columns, nullptr).decode(clash))
                  .find("a plain column's name already"),
              std::string::npos);
}

TEST(ImportPlainColumnsTest, MembersOfOneNameAreRefusedBeforeAnyRecord) {
    const auto refusal = [](ImportColumns columns) {
        try {
            const ImportDecoder decoder(std::move(columns), nullptr);
        } catch (const base::Error& error) {
            EXPECT_EQ(error.code(), base::ErrorCode::invalid_argument);
            return error.message();
        }
        return std::string();
    };
    ImportColumns columns = columns_with_plain_ones();
    EXPECT_EQ(refusal(columns), "");
    for (const std::string field : {"access_token", "n", "__enc"}) {
        columns.plain = {{"n", "n"}, {"client", field}};
        EXPECT_NE(refusal(columns).find("called " + field), std::string::npos) << field;
    }
    columns.plain = {{"client", "token"}};
    EXPECT_EQ(refusal(columns), "");
    columns.wrap.clear();
    EXPECT_NE(refusal(columns).find("called token"), std::string::npos);
    columns.plain = {{"ends", "ends"}, {"ends", "token_expires_at", true}};
    EXPECT_NE(refusal(columns).find("ends is named twice"), std::string::npos);
}

TEST(ImportPlainColumnsTest, AnOwnerThatIsAUuidIsKeptInLowerCase) {
    ImportColumns columns = placed_columns();
    columns.secret = {"secret"};
    columns.owner_is_uuid = true;
    const ImportDecoder decoder(columns, nullptr);
    const auto decode = [&](const std::string& owner) {
        return decoder.decode(
            parsed(R"({"tenant":")" + owner + R"(","platform":"x","secret":{}})"));
    };
    const auto decoded = decode("0B5A4E0C-5F0E-4A57-9f0b-3D3C1F0F6D11");
    ASSERT_EQ(why_not(decoded), "");
    EXPECT_EQ(std::get<ImportItem>(decoded).owner, "0b5a4e0c-5f0e-4a57-9f0b-3d3c1f0f6d11");
    EXPECT_EQ(why_not(decode("acme")), "the owner is no UUID");
}

}  // namespace
}  // namespace tests
