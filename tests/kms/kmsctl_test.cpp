// What was there from the beginning: making, listing and showing keys, data keys, status, usage.
#include <sys/stat.h>

#include "base/encoding.h"
#include "base/file.h"
#include "base/json.h"
#include "tests/kms/kmsctl_runner.h"

namespace tests {
namespace {

class KmsctlTest : public KmsctlRunner {
protected:
    void create_key() {
        const auto made = as(operator_, {"key", "create", "--alias", "credentials", "--tag",
                                         "team=payments", "--description", "for the vault"});
        ASSERT_EQ(made.exit_code, 0) << made.output;
    }
};

TEST_F(KmsctlTest, AKeyIsCreatedListedAndShown) {
    create_key();
    const auto list = as(operator_, {"key", "list"});
    EXPECT_EQ(list.exit_code, 0) << list.output;
    EXPECT_TRUE(list.output.starts_with("ID ")) << list.output;
    EXPECT_TRUE(contains(list.output, "credentials")) << list.output;
    EXPECT_TRUE(contains(list.output, "enabled")) << list.output;
    const auto shown = as(operator_, {"key", "show", "alias/credentials"});
    EXPECT_EQ(shown.exit_code, 0) << shown.output;
    for (const char* part : {"team=payments", "for the vault", "sealed", "always_sensitive",
                             "not extractable", "never_extractable"}) {
        EXPECT_TRUE(contains(shown.output, part)) << part << " in:\n" << shown.output;
    }
}

TEST_F(KmsctlTest, JsonIsForScripts) {
    create_key();
    const auto list = as(operator_, {"key", "list", "--json"});
    ASSERT_EQ(list.exit_code, 0) << list.output;
    const auto keys = base::parse_json(list.output);
    ASSERT_EQ(keys.find("keys")->array()->size(), 1U);
    const std::string id(*keys.find("keys")->array()->front().find("id")->string());
    const auto shown = as(operator_, {"--json", "key", "show", id});
    ASSERT_EQ(shown.exit_code, 0) << shown.output;
    EXPECT_NE(base::parse_json(shown.output).find("versions"), nullptr);
    const auto status = as(operator_, {"status", "--json"});
    ASSERT_EQ(status.exit_code, 0) << status.output;
    EXPECT_NE(base::parse_json(status.output).find("ready"), nullptr);
    const auto openapi = as(operator_, {"openapi"});
    ASSERT_EQ(openapi.exit_code, 0) << openapi.output;
    EXPECT_NE(base::parse_json(openapi.output, {8UL * 1024 * 1024, 64}).find("paths"), nullptr);
    const auto wrapped = as(app_, {"--json", "data-key", "create", "alias/credentials",
                                   "--without-plaintext", "--count", "3"});
    ASSERT_EQ(wrapped.exit_code, 0) << wrapped.output;
    EXPECT_EQ(base::parse_json(wrapped.output).find("data_keys")->array()->size(), 3U);
}

TEST_F(KmsctlTest, DataKeysGoRoundThroughPrivateFiles) {
    create_key();
    const auto made =
        as(app_, {"data-key", "create", "alias/credentials", "--context", "owner=acme", "--context",
                  "n=1", "--count", "2", "--out", file("w"), "--plaintext-out", file("p")});
    ASSERT_EQ(made.exit_code, 0) << made.output;
    EXPECT_EQ(made.output, "");
    struct stat status {};
    ASSERT_EQ(::stat(file("p").c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777U, 0600U);

    const auto opened = as(app_, {"data-key", "unwrap", "--context", "n=1", "--context",
                                  "owner=acme", "--in", file("w"), "--plaintext-out", file("q")});
    ASSERT_EQ(opened.exit_code, 0) << opened.output;
    EXPECT_EQ(base::read_file(file("p"), 1000), base::read_file(file("q"), 1000));
    ASSERT_EQ(::stat(file("q").c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777U, 0600U);

    const auto foreign = as(app_, {"data-key", "unwrap", "--context", "owner=other", "--in",
                                   file("w"), "--plaintext-out", file("r")});
    EXPECT_EQ(foreign.exit_code, 1) << foreign.output;
    EXPECT_FALSE(std::filesystem::exists(file("r")));
}

TEST_F(KmsctlTest, APlaintextMayGoIntoAPipeButNeverToATerminal) {
    create_key();
    Arguments create = connection(app_);
    for (const char* word : {"data-key", "create", "alias/credentials", "--plaintext-out", "-"}) {
        create.emplace_back(word);
    }
    create.insert(create.end(), {"--out", file("w")});
    const auto shown = run_on_terminal(create);
    EXPECT_EQ(shown.exit_code, 2) << shown.output;
    EXPECT_TRUE(contains(shown.output, "not shown on a terminal")) << shown.output;
    const auto piped = run(create);
    ASSERT_EQ(piped.exit_code, 0) << piped.output;
    const auto plaintext = base::parse_base64(std::string_view(piped.output).substr(0, 44));
    ASSERT_TRUE(plaintext) << piped.output.size();
    EXPECT_EQ(plaintext->size(), 32U);
}

TEST_F(KmsctlTest, StatusSaysWhatIsReadyAndMetricsNameNoKey) {
    create_key();
    const auto status = as(operator_, {"status"});
    EXPECT_EQ(status.exit_code, 0) << status.output;
    for (const char* part : {"token", "store", "audit", "ready", "yes"}) {
        EXPECT_TRUE(contains(status.output, part)) << status.output;
    }
    const auto metrics = as(operator_, {"metrics"});
    EXPECT_EQ(metrics.exit_code, 0);
    EXPECT_TRUE(contains(metrics.output, "# TYPE ")) << metrics.output;
    EXPECT_TRUE(contains(metrics.output, "create_key")) << metrics.output;
    EXPECT_FALSE(contains(metrics.output, "credentials")) << "the name of a key";
}

TEST_F(KmsctlTest, ARefusalIsOneSentenceAndExitCodeOne) {
    create_key();
    const std::vector<std::pair<CertificateFiles, Arguments>> refused = {
        {stranger_, {"key", "list"}},
        {stranger_, {"status"}},
        {app_, {"key", "create", "--alias", "other"}},
        {operator_, {"key", "create", "--alias", "credentials"}},
        {operator_, {"key", "create", "--alias", "Not An Alias"}},
        {operator_, {"key", "show", "alias/nobody"}}};
    for (const auto& [who, command] : refused) {
        const auto outcome = as(who, command);
        EXPECT_EQ(outcome.exit_code, 1) << outcome.output;
        EXPECT_TRUE(outcome.output.starts_with("kmsctl: ")) << outcome.output;
        EXPECT_EQ(std::count(outcome.output.begin(), outcome.output.end(), '\n'), 1)
            << outcome.output;
    }
}

TEST_F(KmsctlTest, TheConnectionMayStandInAFile) {
    const auto config = files_.write(
        "kmsctl.json", R"({ // who and where
            "url": "https://127.0.0.1:)" +
                           std::to_string(port_) + R"(", "ca": ")" + house_.pki().ca().string() +
                           R"(", "certificate": ")" + operator_.certificate.string() +
                           R"(", "key": ")" + operator_.key.string() + "\"}");
    EXPECT_EQ(run({"--config", config.string(), "key", "list"}).exit_code, 0);
    std::filesystem::create_directories(files_ / ".config/strongroom");
    std::filesystem::copy(config, files_ / ".config/strongroom/kmsctl.json");
    EXPECT_EQ(run({"key", "list"}, {{"HOME", files_.path().string()}}).exit_code, 0);
}

TEST(KmsctlUsage, WrongUsageIsExitCodeTwoAndSaysWhatIsWrong) {
    const TemporaryDirectory files;
    const auto there = files.write("there", "x\n").string();
    const auto junk = files.write("junk.json", R"({"url":"https://h:1","extra":1})").string();
    const std::vector<std::pair<Arguments, const char*>> wrong = {
        {{}, "subcommand"},
        {{"nonsense"}, "nonsense"},
        {{"key", "show"}, "KEY"},
        {{"key", "show", "credentials"}, "alias/<name>"},
        {{"key", "list"}, "--url"},
        {{"--config", junk, "key", "list"}, "extra"},
        {{"--config", "/nowhere.json", "key", "list"}, "/nowhere.json"},
        {{"key", "create", "--profile", "open"}, "open"},
        {{"key", "create", "--tag", "team"}, "name=value"},
        {{"key", "create", "--tag", "a=1", "--tag", "a=2"}, "twice"},
        {{"data-key", "create", "alias/a"}, "--plaintext-out"},
        {{"data-key", "create", "alias/a", "--count", "1001", "--without-plaintext"}, "1001"},
        {{"data-key", "create", "alias/a", "--bytes", "15", "--without-plaintext"}, "15"},
        {{"data-key", "create", "alias/a", "--plaintext-out", there}, "exists already"},
        {{"data-key", "create", "alias/a", "--plaintext-out", "-"}, "two places"},
        {{"data-key", "unwrap", "--in", there, "--plaintext-out", there + "2"}, "line 1"}};
    for (const auto& [arguments, part] : wrong) {
        const auto outcome = run(arguments);
        EXPECT_EQ(outcome.exit_code, 2) << outcome.output;
        EXPECT_TRUE(contains(outcome.output, part)) << part << " in: " << outcome.output;
    }
}

TEST(KmsctlUsage, SecretsInArgumentsAndInTheEnvironmentAreRefusedAndNotQuoted) {
    const auto argument = run({"--pin", "1234", "key", "list"});
    EXPECT_EQ(argument.exit_code, 1) << argument.output;
    EXPECT_TRUE(contains(argument.output, "--pin")) << argument.output;
    EXPECT_FALSE(contains(argument.output, "1234")) << argument.output;
    const auto variable = run({"key", "list"}, {{"KMS_MASTER_KEY", "5678"}});
    EXPECT_EQ(variable.exit_code, 1) << variable.output;
    EXPECT_TRUE(contains(variable.output, "KMS_MASTER_KEY")) << variable.output;
    EXPECT_FALSE(contains(variable.output, "5678")) << variable.output;
    // Somebody else's variable is none of our business.
    EXPECT_EQ(run({"key", "list"}, {{"OTHER_API_KEY", "5678"}}).exit_code, 2);
}

TEST(KmsctlUsage, AServiceThatIsNotThereIsExitCodeThree) {
    const TemporaryDirectory files;
    TestPki pki(files / "pki");
    const auto who = pki.client("operator", "spiffe://strongroom/operator");
    const auto outcome =
        run({"--url", "https://127.0.0.1:1", "--ca", pki.ca().string(), "--certificate",
             who.certificate.string(), "--key-file", who.key.string(), "--timeout", "1", "status"});
    EXPECT_EQ(outcome.exit_code, 3) << outcome.output;
    EXPECT_TRUE(contains(outcome.output, "can't be reached")) << outcome.output;
}

TEST(KmsctlUsage, HelpHasExamplesForEveryCommandFamily) {
    const auto help = run({"--help"});
    EXPECT_EQ(help.exit_code, 0);
    for (const char* part : {"key create", "key rotate", "data-key create", "sign", "inventory",
                             "status", "Exit codes"}) {
        EXPECT_TRUE(contains(help.output, part)) << help.output;
    }
    EXPECT_EQ(run({"data-key", "unwrap", "--help"}).exit_code, 0);
}

}  // namespace
}  // namespace tests
