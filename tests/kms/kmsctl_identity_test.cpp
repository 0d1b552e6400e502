// token and shared-secret, against a real kmsd.
#include <fstream>
#include <sstream>

#include "tests/kms/kmsctl_runner.h"

namespace tests {
namespace {

class KmsctlTokens : public KmsctlRunner {
protected:
    void SetUp() override {
        std::string config = house_.config_text();
        config.insert(config.find("\"audit\""),
                      R"("identity": {"api_tokens": {"key_file": "tokens.key", "max_days": 30},
            "routes": [{"path": "/v1/api-tokens", "methods": ["client_certificate"]}]},
  )");
        house_.write("kmsd.json", config);
        house_.write("tokens.key", std::string(40, 'k') + "\n");
        KmsctlRunner::SetUp();
    }
    std::string policy() const override {
        return R"({"version":1,"roles":{
          "issuer":[{"id":"issuer-tokens","effect":"allow",
            "actions":["create_api_token","list_api_tokens","revoke_api_token"],
            "resources":["api_token:*"]},
            {"id":"issuer-claims","effect":"allow","actions":["grant_claim"],
             "resources":["claim:team=*"]}],
          "reader":[{"id":"reader-list","effect":"allow","actions":["list_keys"],
            "resources":["*"]}]},
          "bindings":[{"caller":"spiffe://strongroom/operator","roles":["issuer"]},
                      {"caller":"token:ci","roles":["reader"]}]})";
    }
    Outcome with_token(const std::string& token_file, const Arguments& command) {
        Arguments all = {"--url",         "https://127.0.0.1:" + std::to_string(port_),
                         "--ca",          house_.pki().ca().string(),
                         "--bearer-file", token_file};
        all.insert(all.end(), command.begin(), command.end());
        return run(all);
    }
    static std::string content(const std::filesystem::path& path) {
        std::ifstream in(path, std::ios::binary);
        std::ostringstream text;
        text << in.rdbuf();
        return text.str();
    }
    std::string all_that_is_kept() const {
        std::string all = daemon_->output() + content(house_ / "kms.db");
        for (const auto& entry : std::filesystem::directory_iterator(house_ / "audit-kms")) {
            all += content(entry.path());
        }
        return all;
    }
};

TEST_F(KmsctlTokens, ATokenWorksUntilItIsRevokedAndIsKeptNowhere) {
    const std::string place = file("ci.token");
    const auto made = as(operator_, {"token", "create", "ci", "--claim", "team=payments", "--days",
                                     "7", "--out", place});
    ASSERT_EQ(made.exit_code, 0) << made.output;
    EXPECT_TRUE(contains(made.output, "token:ci")) << made.output;
    const std::string token = content(place);
    const std::string id = token.substr(4, 16);
    EXPECT_EQ(std::filesystem::status(place).permissions(), std::filesystem::perms(0600));

    const auto used = with_token(place, {"key", "list"});
    EXPECT_EQ(used.exit_code, 0) << used.output;
    // Nor may the token do more than its caller, or make another.
    EXPECT_EQ(with_token(place, {"key", "create"}).exit_code, 1);
    const auto child = with_token(place, {"token", "create", "ci"});
    EXPECT_TRUE(contains(child.output, "the credential is not accepted")) << child.output;

    const auto list = as(operator_, {"token", "list"});
    EXPECT_TRUE(contains(list.output, id) && contains(list.output, "team=payments")) << list.output;
    const auto revoked = as(operator_, {"token", "revoke", id});
    EXPECT_EQ(revoked.exit_code, 0) << revoked.output;
    const auto after = with_token(place, {"key", "list"});
    EXPECT_EQ(after.exit_code, 1);
    EXPECT_TRUE(contains(after.output, "the credential is not accepted")) << after.output;

    const std::string secret = token.substr(21, 43);
    const std::string kept = all_that_is_kept();
    EXPECT_FALSE(contains(kept, secret));
    EXPECT_TRUE(contains(kept, "\"method\":\"api_token\""));
    EXPECT_TRUE(contains(kept, "\"credential\":\"" + id + "\""));
    EXPECT_TRUE(contains(kept, "\"authentication\":\"token_revoked\""));
}

TEST(KmsctlSharedSecret, IsMadeIntoAFileAndItsHashPrinted) {
    const TemporaryDirectory folder;
    const std::string place = (folder / "sync.secret").string();
    const auto made = run({"shared-secret", "make", "--out", place});
    ASSERT_EQ(made.exit_code, 0) << made.output;
    EXPECT_EQ(made.output.size(), 72U) << made.output;  // "sha256:", 64 digits and a line feed
    EXPECT_EQ(run({"shared-secret", "hash", "--in", place}).output, made.output);
    EXPECT_EQ(run({"shared-secret", "make", "--out", place}).exit_code, 2);
    const auto brief = folder.write("short", std::string(31, 'x'), 0600);
    const auto refused = run({"shared-secret", "hash", "--in", brief.string()});
    EXPECT_EQ(refused.exit_code, 1);
    EXPECT_TRUE(contains(refused.output, "32")) << refused.output;
}

}  // namespace
}  // namespace tests
