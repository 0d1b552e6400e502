// vaultctl as a process, against a real vaultd with a real kmsd behind it.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/json.h"
#include "tests/support/temporary_directory.h"
#include "tests/vault/vault_house.h"

namespace tests {
namespace {

using Arguments = std::vector<std::string>;

struct Outcome {
    int exit_code = -1;
    std::string output;  // standard output and standard error
};

Outcome run(DaemonOptions options) {
    options.keep_user = true;
    Daemon tool(options);
    Outcome outcome;
    outcome.exit_code = tool.wait_exit();
    outcome.output = tool.output();
    return outcome;
}

class VaultctlTest : public testing::Test {
protected:
    void SetUp() override { house_.start(); }

    Arguments connection(const CertificateFiles& who) {
        return {"--url",         "https://127.0.0.1:" + std::to_string(house_.port()),
                "--ca",          house_.kms().pki().ca().string(),
                "--certificate", who.certificate.string(),
                "--key-file",    who.key.string()};
    }
    Outcome as(const CertificateFiles& who, const Arguments& command) {
        DaemonOptions options;
        options.program = built_program("vaultctl");
        options.arguments = connection(who);
        options.arguments.insert(options.arguments.end(), command.begin(), command.end());
        return run(options);
    }
    Outcome app(const Arguments& command) { return as(house_.app_files, command); }
    // With `input` on standard input.
    Outcome app_with_input(const std::string& input, const Arguments& command) {
        std::string line = "exec '" + built_program("vaultctl").string() + "'";
        for (const auto& argument : connection(house_.app_files)) line += " '" + argument + "'";
        for (const auto& argument : command) line += " '" + argument + "'";
        line += " < '" + files_.write("input", input).string() + "'";
        DaemonOptions options;
        options.program = "/bin/sh";
        options.arguments = {"-c", line};
        return run(options);
    }

    VaultHouse house_;
    TemporaryDirectory files_;
};

bool contains(const std::string& text, std::string_view part) {
    return text.find(part) != std::string::npos;
}

TEST_F(VaultctlTest, PutsGetsListsRevealsAndDeletes) {
    const auto secret = files_.write("secret.json", R"({"access_token":"not-a-token","n":1.50})");
    const auto put =
        app({"put", "acme", "instagram", "--secret-file", secret.string(), "--meta",
             "account=17841", "--expires-at", "2001-01-01T00:00:00Z", "--if-version", "0"});
    EXPECT_EQ(put.exit_code, 0) << put.output;
    EXPECT_TRUE(contains(put.output, "account=17841")) << put.output;
    const auto again = app_with_input(R"({"access_token":"second"})", {"put", "acme", "instagram"});
    EXPECT_EQ(again.exit_code, 0) << again.output;

    const auto get = app({"get", "acme", "instagram", "--json"});
    EXPECT_EQ(get.exit_code, 0);
    EXPECT_EQ(base::parse_json(get.output).find("version")->integer(), 2);
    const auto list = app({"list", "acme"});
    EXPECT_TRUE(list.output.starts_with("OWNER")) << list.output;
    EXPECT_TRUE(contains(list.output, "instagram"));
    for (const auto& outcome : {put, again, get, list})
        EXPECT_FALSE(contains(outcome.output, "access_token"));

    EXPECT_TRUE(contains(app({"expiring", "acme"}).output, "Nothing")) << "an older version did";
    EXPECT_EQ(app({"reveal", "acme", "instagram"}).output, "{\"access_token\":\"second\"}\n");
    const auto out = files_ / "revealed.json";
    const auto older =
        app({"reveal", "acme", "instagram", "--version", "1", "--out", out.string()});
    EXPECT_EQ(older.exit_code, 0) << older.output;
    EXPECT_TRUE(contains(older.output, "expired at 2001-01-01")) << older.output;
    EXPECT_FALSE(contains(older.output, "not-a-token"));
    EXPECT_EQ(base::read_file(out, 1024), R"({"access_token":"not-a-token","n":1.50})");
    struct stat status {};
    ASSERT_EQ(::stat(out.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777U, 0600U);
    EXPECT_EQ(app({"reveal", "acme", "instagram", "--out", out.string()}).exit_code, 2)
        << "no file is overwritten";

    const auto restored =
        app({"restore-version", "acme", "instagram", "--version", "1", "--if-version", "2"});
    EXPECT_EQ(restored.exit_code, 0) << restored.output;
    EXPECT_FALSE(contains(restored.output, "not-a-token"));
    EXPECT_TRUE(contains(app({"reveal", "acme", "instagram"}).output, "not-a-token"));
    EXPECT_EQ(app({"restore-version", "acme", "instagram", "--version", "1", "--if-version", "2"})
                  .exit_code,
              1);
    const auto expired = app({"expiring", "acme", "--days", "0"});
    EXPECT_TRUE(contains(expired.output, "instagram")) << expired.output;
    EXPECT_TRUE(contains(expired.output, "2001-01-01")) << expired.output;
    EXPECT_EQ(app({"expiring"}).exit_code, 1) << "all owners' are not for one";
    const auto history = app({"history", "acme", "instagram"});
    EXPECT_TRUE(contains(history.output, "RESTORED FROM")) << history.output;
    const auto versions = base::parse_json(app({"history", "acme", "instagram", "--json"}).output);
    EXPECT_EQ(versions.find("versions")->array()->front().find("restored_from")->integer(), 1);

    EXPECT_EQ(app_with_input("", {"delete", "acme", "instagram"}).exit_code, 2)
        << "no terminal to ask at";
    const auto destroyed = app({"delete", "acme", "instagram", "--yes"});
    EXPECT_EQ(destroyed.exit_code, 0) << destroyed.output;
    EXPECT_TRUE(contains(destroyed.output, "3 version(s)")) << destroyed.output;
    const auto records = app({"destructions", "acme", "--out", files_.path().string()});
    EXPECT_TRUE(contains(records.output, "spiffe://strongroom/app")) << records.output;
    EXPECT_TRUE(contains(records.output, "nobody")) << "no key is configured: " << records.output;
    EXPECT_EQ(app({"erase-owner", "acme", "--yes"}).exit_code, 1) << "nothing is left";
    const auto gone = app({"reveal", "acme", "instagram"});
    EXPECT_EQ(gone.exit_code, 1);
    EXPECT_TRUE(contains(gone.output, "no such credential")) << gone.output;
}

TEST_F(VaultctlTest, ASecretIsAnyJsonAndStaysAsItIsSpelled) {
    for (const std::string secret : {R"("a text")", "1.50", "[1,{}]", "true", "null"}) {
        const auto put = app_with_input(secret + "\n", {"put", "acme", "any"});
        EXPECT_EQ(put.exit_code, 0) << put.output;
        EXPECT_EQ(app({"reveal", "acme", "any"}).output, secret + "\n");
    }
    EXPECT_EQ(app_with_input("a text", {"put", "acme", "any"}).exit_code, 2);
    const auto sealed = app_with_input(R"("{\"__enc\":2}")", {"put", "acme", "any"});
    EXPECT_EQ(sealed.exit_code, 1);
    EXPECT_TRUE(contains(sealed.output, "is sealed already")) << sealed.output;
}

TEST_F(VaultctlTest, MistakesAreNamedAndNothingIsSent) {
    const auto text = files_.write("text", "no json");
    const auto array = files_.write("array", "[1]");
    for (const auto& [command, part] : std::vector<std::pair<Arguments, std::string>>{
             {{"put", "acme", "x", "--secret-file", text.string()}, "malformed"},
             {{"put", "acme", "x", "--secret-file", array.string(), "--metadata-file",
               array.string()},
              "must be a JSON object"},
             {{"put", "acme", "x", "--secret-file", "/missing"}, "/missing"},
             {{"put", "acme", "x", "--secret-file", array.string(), "--meta", "novalue"}, "--meta"},
             {{"put", "acme"}, "NAME"},
             {{"put", "acme", "x", "--secret={}"}, "secret"},
             {{}, "subcommand"},
         }) {
        const auto outcome = app(command);
        EXPECT_NE(outcome.exit_code, 0) << outcome.output;
        EXPECT_TRUE(contains(outcome.output, part)) << outcome.output;
    }
    EXPECT_TRUE(contains(app({"list", "acme"}).output, "no credential"));
    const auto bad_time = app_with_input("{}", {"put", "acme", "x", "--expires-at", "soon"});
    EXPECT_EQ(bad_time.exit_code, 1);
    EXPECT_TRUE(contains(bad_time.output, "\"expires_at\"")) << bad_time.output;
}

TEST_F(VaultctlTest, StatusNamesEachPart) {
    const auto status = as(house_.operator_files, {"status"});
    EXPECT_EQ(status.exit_code, 0) << status.output;
    for (const auto* part : {"store", "audit", "kms", "policy"})
        EXPECT_TRUE(contains(status.output, part)) << part;
    house_.kmsd().stop();
    const auto without = as(house_.operator_files, {"status"});
    EXPECT_EQ(without.exit_code, 3) << without.output;
    EXPECT_TRUE(contains(without.output, "not available")) << without.output;
    house_.vaultd().stop();
    EXPECT_EQ(as(house_.operator_files, {"status", "--timeout", "1"}).exit_code, 3);
}

// The commands are kmsctl's; that they reach this daemon is what is seen here.
class VaultctlTokens : public VaultctlTest {
protected:
    void SetUp() override {
        std::string config = house_.config_text();
        config.insert(config.find("\"policy\""),
                      R"("identity": {"api_tokens": {"key_file": "tokens.key", "max_days": 30},
            "routes": [{"path": "/v1/api-tokens", "methods": ["client_certificate"]}]},
  )");
        house_.kms().write("vaultd.json", config);
        house_.kms().write("tokens.key", std::string(40, 'k') + "\n");
        house_.kms().write("policy-vault.json", R"({"version":1,"roles":{
          "issuer":[{"id":"issuer-tokens","effect":"allow",
            "actions":["create_api_token","list_api_tokens","revoke_api_token"],
            "resources":["api_token:*"]}],
          "reader":[{"id":"reader-list","effect":"allow","actions":["list_credentials"],
            "resources":["*"]}]},
          "bindings":[{"caller":"spiffe://strongroom/operator","roles":["issuer"]},
                      {"caller":"token:ci","roles":["reader"]}]})");
        for (const char* file : {"vaultd.json", "tokens.key", "policy-vault.json"}) {
            give_to_daemon_user(house_.kms() / file);
        }
        VaultctlTest::SetUp();
    }
    Outcome with_token(const std::string& token_file, const Arguments& command) {
        DaemonOptions options;
        options.program = built_program("vaultctl");
        options.arguments = {"--url",         "https://127.0.0.1:" + std::to_string(house_.port()),
                             "--ca",          house_.kms().pki().ca().string(),
                             "--bearer-file", token_file};
        options.arguments.insert(options.arguments.end(), command.begin(), command.end());
        return run(options);
    }
};

TEST_F(VaultctlTokens, ATokenIsMadeListedUsedAndRevoked) {
    const auto& issuer = house_.operator_files;
    const std::string place = (files_ / "ci.token").string();
    const auto made = as(issuer, {"token", "create", "ci", "--days", "7", "--out", place});
    ASSERT_EQ(made.exit_code, 0) << made.output;
    EXPECT_TRUE(contains(made.output, "token:ci")) << made.output;
    struct stat status {};
    ASSERT_EQ(::stat(place.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777U, 0600U);
    const std::string token = base::read_file(place, 1024);
    EXPECT_FALSE(contains(made.output, token.substr(21, 43))) << "it is in the file only";
    const std::string id = token.substr(4, 16);
    const auto list = as(issuer, {"token", "list"});
    EXPECT_TRUE(contains(list.output, id)) << list.output;

    const auto used = with_token(place, {"list", "acme"});
    EXPECT_EQ(used.exit_code, 0) << used.output;
    EXPECT_EQ(with_token(place, {"reveal", "acme", "instagram"}).exit_code, 1);
    const auto revoked = as(issuer, {"token", "revoke", id});
    EXPECT_EQ(revoked.exit_code, 0) << revoked.output;
    const auto after = with_token(place, {"list", "acme"});
    EXPECT_EQ(after.exit_code, 1);
    EXPECT_TRUE(contains(after.output, "the credential is not accepted")) << after.output;
    EXPECT_EQ(app({"token", "create", "ci"}).exit_code, 1) << "who has no right to make one";
}

}  // namespace
}  // namespace tests
