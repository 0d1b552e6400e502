// "compat" of vaultd's configuration.
#include <gtest/gtest.h>

#include "tests/support/expect_error.h"
#include "tests/support/temporary_directory.h"
#include "vault/compat/config.h"

namespace tests {
namespace {

vault::compat::Config read(const std::string& compat) {
    const base::JsonValue value = base::parse_json("{\"compat\":" + compat + "}");
    base::JsonReader top(value);
    auto config = vault::compat::read_config(top, "/etc/strongroom");
    top.refuse_unknown();
    return config;
}

TEST(CompatConfig, AbsentServesNoOlderShape) {
    const base::JsonValue value = base::parse_json("{}");
    base::JsonReader top(value);
    const auto config = vault::compat::read_config(top, "/");
    EXPECT_FALSE(config.shared_secret || config.broker);
    EXPECT_FALSE(read("{}").shared_secret);
}

TEST(CompatConfig, EveryFieldIsRead) {
    const auto config = read(R"({
      "shared_secret": {"name": "n", "download_field": "d", "session_field": "s"},
      "broker": {"owner": "o", "default_client": "c", "refresh": {
        "endpoints": [{"url": "https://a/t", "ca": "ca.pem"}, {"url": "https://b", "client_authentication": "body"}],
        "deadline_ms": 700, "max_concurrent": 3, "pause_seconds": 9}}})");
    EXPECT_EQ(config.shared_secret->name, "n");
    EXPECT_EQ(config.shared_secret->download_field, "d");
    EXPECT_EQ(config.shared_secret->session_field, "s");
    EXPECT_FALSE(config.shared_secret->directus);
    EXPECT_EQ(config.broker->owner, "o");
    EXPECT_EQ(config.broker->default_client, "c");
    const auto& refresh = config.broker->refresh;
    EXPECT_EQ(refresh.endpoints.at(0).https.url, "https://a/t");
    EXPECT_EQ(refresh.endpoints.at(0).https.ca, "/etc/strongroom/ca.pem");
    EXPECT_FALSE(refresh.endpoints.at(0).secret_in_body);
    EXPECT_TRUE(refresh.endpoints.at(1).secret_in_body);
    EXPECT_EQ(refresh.deadline, std::chrono::milliseconds(700));
    EXPECT_EQ(refresh.max_concurrent, 3U);
    EXPECT_EQ(refresh.pause, std::chrono::seconds(9));
}

TEST(CompatConfig, ADirectusIsReadWhole) {
    const auto directus = *read(R"({"shared_secret": {"directus": {
        "url": "https://d", "ca": "ca.pem", "collection": "c_1", "token": {"file": "t"},
        "deadline_ms": 700, "max_concurrent": 3, "read_back": true}}})")
                               .shared_secret->directus;
    EXPECT_EQ(directus.https.url, "https://d");
    EXPECT_EQ(directus.https.ca, "/etc/strongroom/ca.pem");
    EXPECT_EQ(directus.https.deadline, std::chrono::milliseconds(700));
    EXPECT_EQ(directus.collection, "c_1");
    EXPECT_EQ(directus.token.file, "/etc/strongroom/t");
    EXPECT_EQ(directus.max_concurrent, 3U);
    EXPECT_TRUE(directus.reads_back);
    for (const auto* text :
         {R"({})", R"({"url":"http://d","collection":"c","token":{"file":"t"}})",
          R"({"url":"https://d?x=1","collection":"c","token":{"file":"t"}})",
          R"({"url":"https://d","collection":"a/b","token":{"file":"t"}})",
          R"({"url":"https://d","collection":"c"})",
          R"({"url":"https://d","collection":"c","token":{"prompt":true}})",
          R"({"url":"https://d","collection":"c","token":{"file":"t"},"deadline_ms":1})",
          R"({"url":"https://d","collection":"c","token":{"file":"t"},"more":1})"}) {
        SCOPED_TRACE(text);
        EXPECT_ERROR(invalid_argument,
                     read(R"({"shared_secret":{"directus":)" + std::string(text) + "}}"));
    }
}

TEST(CompatConfig, AnythingElseIsRefused) {
    for (
        const char* text :
        {R"({"more":1})", R"({"shared_secret":{"more":1}})", R"({"shared_secret":{"name":"a/b"}})",
         R"({"broker":{"owner":"*"}})", R"({"broker":{"default_client":"a b"}})",
         R"({"broker":{"refresh":{}}})", R"({"broker":{"refresh":{"endpoints":[]}}})",
         R"({"broker":{"refresh":{"endpoints":[{"url":"http://127.0.0.1/t"}]}}})",
         R"({"broker":{"refresh":{"endpoints":[{"url":"https://a?x=1"}]}}})",
         R"({"broker":{"refresh":{"endpoints":[{"url":"https://a"},{"url":"https://a"}]}}})",
         R"({"broker":{"refresh":{"endpoints":[{"url":"https://a","client_authentication":"x"}]}}})",
         R"({"broker":{"refresh":{"endpoints":[{"url":"https://a"}],"deadline_ms":10}}})",
         R"({"broker":{"refresh":{"endpoints":[{"url":"https://a"}],"max_concurrent":0}}})",
         R"({"broker":{"refresh":{"endpoints":[{"url":"https://a"}],"pause_seconds":0}}})"}) {
        EXPECT_ERROR(invalid_argument, read(text));
    }
}

TEST(CompatConfig, AnAuthorityThatIsNoneIsFoundBeforeTheStart) {
    TemporaryDirectory folder;
    const base::JsonValue value = base::parse_json(
        R"({"compat":{"broker":{"refresh":{"endpoints":[{"url":"https://a","ca":"missing.pem"}]}}}})");
    base::JsonReader top(value);
    const auto config = vault::compat::read_config(top, folder.path());
    EXPECT_THROW(vault::compat::check_files(config), base::Error);
    vault::compat::check_files(read(R"({"broker":{}})"));
}

}  // namespace
}  // namespace tests
