// kmsd as a process: start, serve, stop, crash, and every way in which it refuses to start.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <fstream>
#include <map>
#include <sstream>

#include "base/file.h"
#include "base/json.h"
#include "kms/client/client.h"
#include "tests/support/daemon.h"
#include "tests/support/expect_error.h"
#include "tests/support/kms_house.h"

namespace tests {
namespace {

class KmsdTest : public testing::Test {
protected:
    kms::Client client(const CertificateFiles& caller, std::uint16_t port) {
        return kms::Client(config_of(caller, port));
    }
    kms::ClientConfig config_of(const CertificateFiles& caller, std::uint16_t port) {
        kms::ClientConfig config;
        config.url = "https://127.0.0.1:" + std::to_string(port);
        config.ca = house_.pki().ca();
        config.certificate = caller.certificate;
        config.key = caller.key;
        return config;
    }
    // Starts with `config` in place of kmsd.json's text, expects exit 1 and that it says `part`.
    void expect_refused(std::string config, std::string_view part) {
        house_.write("kmsd.json", config);
        const auto daemon = house_.start();
        EXPECT_EQ(daemon->wait_exit(), 1);
        EXPECT_NE(daemon->output().find(part), std::string::npos) << daemon->output();
        EXPECT_NE(daemon->output().find("kmsd: "), std::string::npos) << daemon->output();
    }
    // What a plain GET on a UNIX socket is answered, until the end.
    static std::string plain_answer(const std::filesystem::path& socket, std::string_view path) {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        socket.native().copy(address.sun_path, sizeof(address.sun_path) - 1);
        const int connection = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        std::string answer;
        if (::connect(connection, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0) {
            const std::string request =
                "GET " + std::string(path) + " HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
            ::send(connection, request.data(), request.size(), MSG_NOSIGNAL);
            std::array<char, 4096> part{};
            for (ssize_t count = 0;
                 (count = ::recv(connection, part.data(), part.size(), 0)) > 0;) {
                answer.append(part.data(), static_cast<std::size_t>(count));
            }
        }
        ::close(connection);
        return answer;
    }
    std::string config_with(std::string_view what, std::string_view by) const {
        std::string text = house_.config_text();
        const auto at = text.find(what);
        if (at == std::string::npos) throw std::logic_error("nothing to replace");
        return text.replace(at, what.size(), by);
    }

    KmsHouse house_;
};

TEST_F(KmsdTest, ServesAndStopsCleanlyAndRecordsBoth) {
    const auto daemon = house_.start();
    const auto port = daemon->wait_ready();
    auto operator_client = client(house_.operator_files, port);
    operator_client.check_ready();
    operator_client.call("POST", "/v1/keys", R"({"alias":"credentials"})");
    auto app = client(house_.app_files, port);
    const auto keys = app.create_data_keys("alias/credentials", {{"owner", "acme"}}, 32, 2);
    ASSERT_EQ(keys.size(), 2U);
    EXPECT_TRUE(
        app.unwrap({keys[0].wrapped, {{"owner", "acme"}}}).equals(keys[0].plaintext.expose()));
    EXPECT_ERROR(integrity_failure, app.unwrap({keys[0].wrapped, {{"owner", "b"}}}));
    EXPECT_ERROR(permission_denied, app.call("GET", "/v1/keys", ""));
    EXPECT_EQ(daemon->stop(), 0) << daemon->output();

    std::string audit;
    for (const auto& entry : std::filesystem::directory_iterator(house_.folder() / "audit-kms")) {
        if (entry.is_regular_file()) audit += base::read_file(entry.path(), 1 << 20);
    }
    for (const auto* word : {"\"start\"", "\"stop\"", "\"unwrap_data_key\"", "policy_hash",
                             R"("action":"token_login")"}) {
        EXPECT_NE(audit.find(word), std::string::npos) << word;
    }
}

TEST_F(KmsdTest, AHangUpPutsANewPolicyInForceAndABrokenOneIsRefusedAndChangesNothing) {
    const auto daemon = house_.start();
    const auto port = daemon->wait_ready();
    auto app = client(house_.app_files, port);
    EXPECT_ERROR(permission_denied, app.call("GET", "/v1/keys", ""));

    std::string policy = KmsHouse::policy_text();
    const std::string_view bound = R"(strongroom/app", "roles": [)";
    policy.insert(policy.find(bound) + bound.size(), R"("operator", )");
    house_.write("policy-kms.json", policy);
    EXPECT_ERROR(permission_denied, app.call("GET", "/v1/keys", ""));
    daemon->reload();
    ASSERT_TRUE(daemon->wait_said(R"("reloaded","step":"policy")")) << daemon->output();
    EXPECT_NO_THROW(app.call("GET", "/v1/keys", ""));

    house_.write("policy-kms.json", policy.substr(0, policy.size() / 2));
    daemon->reload();
    ASSERT_TRUE(daemon->wait_said("not reloaded")) << daemon->output();
    EXPECT_NO_THROW(app.call("GET", "/v1/keys", ""));
    EXPECT_EQ(daemon->stop(), 0) << daemon->output();
    const auto audit = base::read_file(house_.folder() / "audit-kms" / "audit.jsonl", 1 << 20);
    for (const auto* word : {R"("reload")", R"("outcome":"done")", R"("outcome":"refused")"}) {
        EXPECT_NE(audit.find(word), std::string::npos) << word;
    }
}

TEST_F(KmsdTest, ServesAUnixSocketAndMetricsAndStopsWhomANewListRevokes) {
    const auto list = house_.pki().revocation_list("ca", {});
    const auto socket = house_.folder() / "kmsd.sock";
    std::string config =
        config_with(R"("port": 0})", R"("port": 0, "also": [{"address": "unix:kmsd.sock"}]})");
    config.replace(config.find(R"("pki/ca.crt")"), 12,
                   R"("pki/ca.crt", "client_crl": ["pki/ca.crl"])");
    config.insert(config.find(R"("policy")"), R"("metrics": {"address": "unix:metrics.sock"}, )");
    house_.write("kmsd.json", config);
    const auto daemon = house_.start();
    const auto port = daemon->wait_ready();

    kms::ClientConfig over_socket = config_of(house_.operator_files, port);
    over_socket.socket = socket;
    kms::Client operator_client(over_socket);
    operator_client.call("POST", "/v1/keys", R"({"alias":"credentials"})");
    over_socket.url = "https://another.example";
    over_socket.retry_budget = std::chrono::milliseconds(0);
    EXPECT_ERROR(unavailable, kms::Client(over_socket).call("GET", "/v1/keys", ""));
    over_socket.url = "https://localhost";
    over_socket.ca = TestPki(house_.folder() / "other").ca();
    EXPECT_ERROR(unavailable, kms::Client(over_socket).call("GET", "/v1/keys", ""));
    auto app = client(house_.app_files, port);
    EXPECT_EQ(app.create_data_keys("alias/credentials", {}).size(), 1U);
    const std::string metrics = plain_answer(house_.folder() / "metrics.sock", "/metrics");
    EXPECT_NE(metrics.find("create_data_key"), std::string::npos) << metrics;
    EXPECT_EQ(metrics.find("credentials"), std::string::npos) << metrics;
    EXPECT_EQ(metrics.find("spiffe"), std::string::npos) << metrics;
    house_.pki().revocation_list("ca", {house_.app_files});
    give_to_daemon_user(list);
    ASSERT_TRUE(daemon->wait_said(R"("reloaded","step":"certificates")")) << daemon->output();
    EXPECT_ERROR(unauthenticated, app.create_data_keys("alias/credentials", {}));
    EXPECT_NO_THROW(operator_client.call("GET", "/v1/keys", ""));
    EXPECT_EQ(daemon->stop(), 0) << daemon->output();
    EXPECT_FALSE(std::filesystem::exists(socket));
    const auto audit = base::read_file(house_.folder() / "audit-kms" / "audit.jsonl", 1 << 20);
    EXPECT_NE(audit.find("unix:uid="), std::string::npos);
}

TEST_F(KmsdTest, AThousandDataKeysAreMadeUnwrappedAndWrappedAnewOverTheWire) {
    const auto daemon = house_.start();
    const auto port = daemon->wait_ready();
    client(house_.operator_files, port).call("POST", "/v1/keys", R"({"alias":"credentials"})");
    auto app = client(house_.app_files, port);
    const auto keys = app.create_data_keys("alias/credentials", {{"a", "1"}}, 32, 1000);
    ASSERT_EQ(keys.size(), 1000U);
    std::vector<kms::RewrapItem> rewraps;
    for (const auto& key : keys) {
        rewraps.push_back({key.wrapped, {{"a", "1"}}, "", kms::EncryptionContext{{"b", "2"}}});
    }
    const auto moved = app.rewrap_many(rewraps);
    ASSERT_EQ(moved.size(), 1000U);
    std::vector<kms::UnwrapItem> unwraps;
    for (const auto& one : moved) {
        ASSERT_TRUE(std::holds_alternative<kms::Enveloped>(one));
        unwraps.push_back({std::get<kms::Enveloped>(one).bytes, {{"b", "2"}}});
    }
    const auto opened = app.unwrap_many(unwraps);
    for (std::size_t i = 0; i < opened.size(); ++i) {
        ASSERT_TRUE(std::get<base::SecretBytes>(opened[i]).equals(keys[i].plaintext.expose())) << i;
    }
    const auto text = app.encrypt("alias/credentials", base::as_bytes("text"), {{"c", "3"}});
    EXPECT_EQ(app.decrypt(text.bytes, {{"c", "3"}}).expose_text(), "text");
    EXPECT_ERROR(integrity_failure, app.decrypt(text.bytes, {}));
    EXPECT_ERROR(invalid_argument,
                 app.call("POST", "/v1/data-keys/unwrap", R"({"wrapped":"QQ=="})", {"", "once"}));

    // One record for each call on many, which names every item.
    EXPECT_EQ(daemon->stop(), 0) << daemon->output();
    std::istringstream log(base::read_file(house_.folder() / "audit-kms" / "audit.jsonl", 1 << 20));
    std::map<std::string, int> of_many;
    for (std::string line; std::getline(log, line);) {
        const auto record = base::parse_json(line, {1 << 20, 16});
        const auto* items = record.find("items");
        if (items == nullptr || items->array()->empty()) continue;
        ASSERT_EQ(items->array()->size(), 1U) << line;
        EXPECT_EQ(*items->array()->front().find("items")->string(), "0-999") << line;
        EXPECT_EQ(*items->array()->front().find("outcome")->string(), "ok") << line;
        ++of_many[std::string(*record.find("action")->string())];
    }
    EXPECT_EQ(of_many,
              (std::map<std::string, int>{{"rewrap_data_key", 1}, {"unwrap_data_key", 1}}));
}

TEST_F(KmsdTest, AKillLosesNoAcknowledgedKey) {
    std::vector<std::string> acknowledged;
    base::Bytes wrapped;
    for (int round = 0; round < 3; ++round) {
        const auto daemon = house_.start();
        const auto port = daemon->wait_ready();
        auto operator_client = client(house_.operator_files, port);
        for (const auto& id : acknowledged) {
            EXPECT_NO_THROW(operator_client.call("GET", "/v1/keys/" + id, ""));
        }
        const auto made = operator_client.call("POST", "/v1/keys",
                                               round == 0 ? R"({"alias":"credentials"})" : "{}");
        acknowledged.emplace_back(*made.find("id")->string());
        auto app = client(house_.app_files, port);
        if (round == 0) wrapped = app.create_data_keys("alias/credentials", {})[0].wrapped;
        EXPECT_EQ(app.unwrap({wrapped, {}}).size(), 32U);
        daemon->kill();
    }
}

TEST_F(KmsdTest, ChecksAConfigurationWithoutServing) {
    auto options = house_.options();
    options.arguments.emplace_back("--check-config");
    Daemon good(options);
    EXPECT_EQ(good.wait_exit(), 0) << good.output();
    house_.write("kmsd.json", config_with("pki/kmsd.crt", "pki/none.crt"));
    Daemon without_certificate(options);
    EXPECT_EQ(without_certificate.wait_exit(), 1);
    house_.write("kmsd.json", config_with("\"log\"", "\"lag\""));
    Daemon bad(options);
    EXPECT_EQ(bad.wait_exit(), 1);
    EXPECT_NE(bad.output().find("\"lag\""), std::string::npos) << bad.output();
}

TEST_F(KmsdTest, SaysItsVersion) {
    auto options = house_.options();
    options.arguments = {"--version"};
    Daemon daemon(options);
    EXPECT_EQ(daemon.wait_exit(), 0);
    EXPECT_EQ(daemon.output().rfind("kmsd ", 0), 0U) << daemon.output();
}

TEST_F(KmsdTest, RefusesRoot) {
    if (::geteuid() != 0) GTEST_SKIP() << "only root can try";
    auto options = house_.options();
    options.keep_user = true;
    Daemon daemon(options);
    EXPECT_EQ(daemon.wait_exit(), 1);
    EXPECT_NE(daemon.output().find("root"), std::string::npos) << daemon.output();
}

TEST_F(KmsdTest, RefusesSecretsInEnvironmentAndArgumentsWithoutQuotingThem) {
    auto options = house_.options();
    options.environment["KMS_PIN"] = "4711-secret";
    Daemon with_environment(options);
    EXPECT_EQ(with_environment.wait_exit(), 1);
    EXPECT_NE(with_environment.output().find("KMS_PIN"), std::string::npos);
    EXPECT_EQ(with_environment.output().find("4711"), std::string::npos);
    options.environment.clear();
    options.arguments.emplace_back("--pin=4711-secret");
    Daemon with_argument(options);
    EXPECT_EQ(with_argument.wait_exit(), 1);
    EXPECT_NE(with_argument.output().find("--pin"), std::string::npos);
    EXPECT_EQ(with_argument.output().find("4711"), std::string::npos);
}

TEST_F(KmsdTest, RefusesAMissingToken) {
    expect_refused(config_with("token=strongroom", "token=elsewhere"), "token");
}

TEST_F(KmsdTest, RefusesAMissingModule) {
    expect_refused(config_with("libsofthsm2.so", "libnone.so"), "libnone.so");
}

TEST_F(KmsdTest, RefusesAWrongPin) {
    house_.write("user.pin", "wrong\n");
    expect_refused(house_.config_text(), "PIN");
}

TEST_F(KmsdTest, RefusesAPinFileThatOthersCanRead) {
    house_.write("user.pin", std::string(KmsHouse::user_pin) + "\n", 0644);
    expect_refused(house_.config_text(), "0600");
}

TEST_F(KmsdTest, RefusesAPinInTheUri) {
    expect_refused(config_with("token=strongroom", "token=strongroom?pin-value=1234"),
                   "\"token.uri\"");
}

TEST_F(KmsdTest, RefusesATlsKeyThatOthersCanRead) {
    std::filesystem::permissions(house_.folder() / "pki/kmsd.key",
                                 std::filesystem::perms::others_read,
                                 std::filesystem::perm_options::add);
    expect_refused(house_.config_text(), "kmsd.key");
}

TEST_F(KmsdTest, RefusesAnUnreadableCertificate) {
    expect_refused(config_with("pki/kmsd.crt", "pki/none.crt"), "none.crt");
}

TEST_F(KmsdTest, RefusesAnUnknownActionInThePolicy) {
    std::string policy = KmsHouse::policy_text();
    policy.replace(policy.find("list_keys"), 9, "lost_keys");
    house_.write("policy-kms.json", policy);
    expect_refused(house_.config_text(), "lost_keys");
}

TEST_F(KmsdTest, RefusesAPortInUse) {
    const int taken = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    ASSERT_EQ(::bind(taken, generic, size), 0);
    ASSERT_EQ(::listen(taken, 1), 0);
    ASSERT_EQ(::getsockname(taken, generic, &size), 0);
    const std::string port = std::to_string(ntohs(address.sin_port));
    expect_refused(config_with("\"port\": 0", "\"port\": " + port), port);
    ::close(taken);
}

TEST_F(KmsdTest, RefusesASecondKmsdOnTheSameFiles) {
    const auto first = house_.start();
    first->wait_ready();
    const auto second = house_.start();
    EXPECT_EQ(second->wait_exit(), 1);
    EXPECT_EQ(first->stop(), 0);
}

TEST_F(KmsdTest, TheCommentedExampleIsAValidConfiguration) {
    std::string text = base::read_file(std::filesystem::path(EXAMPLES) / "kmsd.json", 1 << 16);
    const auto set = [&](std::string_view what, std::string_view by) {
        text.replace(text.find(what), what.size(), by);
    };
    set("secrets/user.pin", "user.pin");
    house_.write("kmsd.json", text);
    house_.write(
        "budgets.json",
        base::read_file(std::filesystem::path(EXAMPLES) / "../../policies/budgets.json", 1 << 16));
    house_.write("api-tokens.key", std::string(43, 'k') + "\n");
    house_.write("directus-sync.hash", "sha256:" + std::string(64, '0') + "\n");
    auto options = house_.options();
    options.arguments.emplace_back("--check-config");
    Daemon daemon(options);
    EXPECT_EQ(daemon.wait_exit(), 0) << daemon.output();
}

}  // namespace
}  // namespace tests
