// vaultd as a process: how it starts, takes over what changes, stops, and what a kill leaves.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <future>
#include <map>
#include <sstream>
#include <thread>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "tests/support/expect_error.h"
#include "tests/support/tls_peer.h"
#include "tests/vault/vaultd_process.h"
#include "vault/config.h"

namespace tests {
namespace {

// The line of `text` that has `part`.
std::string line_with(const std::string& text, const std::string& part) {
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
        if (line.find(part) != std::string::npos) return line;
    }
    return {};
}

// `text` with `by` in the place of `part`, which must be in it.
std::string with(std::string text, std::string_view part, std::string_view by) {
    return text.replace(text.find(part), part.size(), by);
}

TEST_F(VaultdTest, StoresRevealsAndStopsCleanly) {
    house_.start();
    kms::Client app(house_.to_vaultd(house_.app_files));
    const auto stored = app.call("PUT", one, R"({"secret":{"access_token":"end-to-end-marker"}})");
    EXPECT_EQ(stored.find("version")->integer(), 1);
    EXPECT_EQ(secret_of(app), R"({"access_token":"end-to-end-marker"})");
    kms::CallOptions traced;
    traced.traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    app.call("POST", std::string(one) + "/reveal", "", traced);
    kms::Client observer(house_.to_vaultd(house_.operator_files));
    EXPECT_NO_THROW(observer.check_ready());
    kms::Client stranger(house_.to_vaultd(house_.stranger_files));
    EXPECT_ERROR(permission_denied, stranger.call("GET", one, ""));
    EXPECT_EQ(house_.vaultd().stop(), 0) << house_.vaultd().output();
    EXPECT_NE(house_.vaultd().output().find("records of destructions are not signed"),
              std::string::npos);

    const std::string vault_audit = content_of_folder(house_.kms() / "audit-vault");
    for (const auto* word :
         {"store_credential", "reveal_credential", "denied", "\"start\"", "\"stop\""}) {
        EXPECT_NE(vault_audit.find(word), std::string::npos) << word;
    }
    EXPECT_EQ(vault_audit.find("for_another_owner"), std::string::npos);
    EXPECT_NE(
        content_of_folder(house_.kms() / "audit-kms").find("0af7651916cd43dd8448eb211c80319c"),
        std::string::npos)
        << "the trace goes on to the key service";
    for (const auto& text :
         {vault_audit, content_of_folder(house_.kms().folder()), house_.vaultd().output()}) {
        EXPECT_EQ(text.find("end-to-end-marker"), std::string::npos);
    }
}

TEST_F(VaultdTest, AShadowPolicySeesTheTagsThatItAloneAsksForAndAHangUpPutsItInForce) {
    const std::string next =
        with(VaultHouse::policy_text(), "credential:acme/*", "credential:acme/tag/team=payments");
    house_.kms().write("next.json", next);
    house_.kms().write("vaultd.json", with(house_.config_text(), R"("policy-vault.json")",
                                           R"("policy-vault.json", "shadow": "next.json")"));
    house_.start();
    kms::Client app(house_.to_vaultd(house_.app_files));
    const char* other = "/v1/owners/acme/credentials/facebook";
    app.call("PUT", one, R"({"secret":{"k":1},"tags":{"team":"payments"}})");
    app.call("PUT", other, R"({"secret":{"k":2},"tags":{"team":"search"}})");
    EXPECT_EQ(secret_of(app), R"({"k":1})");
    EXPECT_EQ(secret_of(app, other), R"({"k":2})");
    const std::string differs = R"("action":"reveal_credential","resource":"credential:acme/)";
    ASSERT_TRUE(house_.vaultd().wait_said(differs + "facebook")) << house_.vaultd().output();
    EXPECT_EQ(house_.vaultd().output().find(differs + "instagram"), std::string::npos)
        << house_.vaultd().output();

    house_.kms().write("policy-vault.json", next);
    house_.vaultd().reload();
    ASSERT_TRUE(house_.vaultd().wait_said(R"("reloaded","step":"policy")"));
    EXPECT_EQ(secret_of(app), R"({"k":1})");
    EXPECT_ERROR(permission_denied, secret_of(app, other));
    house_.kms().write("policy-vault.json", next.substr(0, next.size() / 2));
    house_.vaultd().reload();
    ASSERT_TRUE(house_.vaultd().wait_said("not reloaded")) << house_.vaultd().output();
    EXPECT_EQ(secret_of(app), R"({"k":1})");

    const std::string line = line_with(house_.vaultd().output(), differs + "facebook");
    for (const auto& [field, value] :
         std::map<std::string, std::string>{{"caller", "spiffe://strongroom/app"},
                                            {"decision", "allow"},
                                            {"rule", "acme"},
                                            {"shadow_decision", "deny"},
                                            {"shadow_rule", "default-deny"}}) {
        EXPECT_NE(line.find("\"" + field + R"(":")" + value + "\""), std::string::npos) << line;
    }
}

// As operators do it: the key service trusts both authorities, the vault changes, the old one goes.
TEST_F(VaultdTest, ACertificateOfAnotherAuthorityTowardsTheKeyServiceNeedsNoRestart) {
    const KmsHouse& folder = house_.kms();
    const auto put = [&folder](const std::filesystem::path& from, const char* to) {
        give_to_daemon_user(from);
        std::filesystem::rename(from, folder / to);
    };
    const std::string old_authority = content_of(folder / "pki/ca.crt");
    folder.write("callers.crt", old_authority, 0644);
    folder.write("kms-ca.crt", old_authority, 0644);
    std::string config =
        with(house_.config_text(), R"("client_ca": "pki/ca.crt")", R"("client_ca": "callers.crt")");
    config = with(config, R"("ca": "pki/ca.crt", "certificate")",
                  R"("ca": "kms-ca.crt", "certificate")");
    config = with(config, R"("audit-vault")",
                  R"("audit-vault", "checkpoints": {"signing_key": "alias/vault-audit"})");
    folder.write("vaultd.json", config);
    kms::Client(house_.to_kmsd(house_.operator_files))
        .call("POST", "/v1/keys", R"({"alias":"vault-audit","kind":"ed25519"})");
    house_.start();
    kms::Client app(house_.to_vaultd(house_.app_files));
    kms::Client old_vault(house_.to_kmsd(house_.vault_files));
    app.call("PUT", one, R"({"secret":{"k":1}})");
    EXPECT_EQ(secret_of(app), R"({"k":1})");

    TestPki other(folder / "other");
    const std::string new_authority = content_of(other.ca());
    folder.write("both.crt", old_authority + new_authority, 0644);
    put(folder / "both.crt", "pki/ca.crt");
    ASSERT_TRUE(house_.kmsd().wait_said(R"("reloaded","step":"certificates")"));
    const auto renewed = other.client("vaultd-client", "spiffe://strongroom/vaultd");
    put(renewed.certificate, "pki/vaultd-client.crt");
    ASSERT_TRUE(house_.vaultd().wait_said("not reloaded")) << house_.vaultd().output();
    EXPECT_NE(house_.vaultd().output().find("vaultd-client.key"), std::string::npos);
    EXPECT_EQ(secret_of(app), R"({"k":1})") << "half of a pair changes nothing";
    folder.write("kms-ca.crt", old_authority + new_authority, 0644);
    put(renewed.key, "pki/vaultd-client.key");
    ASSERT_TRUE(house_.vaultd().wait_said(R"("reloaded","step":"kms_certificates")"))
        << house_.vaultd().output();

    const auto server = other.server("kmsd");
    put(server.certificate, "pki/kmsd.crt");
    put(server.key, "pki/kmsd.key");
    put(other.ca(), "pki/ca.crt");
    while (old_vault.send("GET", "/v1/keys/alias/credentials").status == 200) {
        std::this_thread::yield();
    }
    const std::string sealed = content_of(folder / "audit-vault/checkpoint");
    EXPECT_EQ(secret_of(app), R"({"k":1})");
    app.call("PUT", one, R"({"secret":{"k":2}})");
    EXPECT_EQ(secret_of(app), R"({"k":2})");
    EXPECT_EQ(house_.vaultd().stop(), 0);
    EXPECT_NE(content_of(folder / "audit-vault/checkpoint"), sealed) << "the last records' own";
    const std::string audit = content_of(folder / "audit-vault/audit.jsonl");
    for (const auto* word : {R"("step":"kms_certificates")", R"("outcome":"refused")",
                             R"("outcome":"done")", R"("certificate_sha256")"}) {
        EXPECT_NE(audit.find(word), std::string::npos) << word;
    }
}

// A stop promises what runs nearly all of its 6 seconds; this one takes more than half of them.
TEST_F(VaultdTest, WhatRunsForSecondsWhenItStopsIsAnswered) {
    std::string config = house_.config_text();
    config.replace(config.find(R"("deadline_ms": 2000)"), 19, R"("deadline_ms": 9000)");
    house_.kms().write("vaultd.json", config);
    give_to_daemon_user(house_.kms() / "vaultd.json");
    house_.start();
    auto patient = house_.to_vaultd(house_.app_files);
    patient.deadline = std::chrono::seconds(15);
    patient.retry_budget = std::chrono::milliseconds(0);
    kms::Client app(patient);
    app.call("PUT", one, R"({"secret":{"access_token":"x"}})");
    ::kill(house_.kmsd().pid(), SIGSTOP);
    auto revealed = std::async(std::launch::async, [&] { return secret_of(app); });
    std::this_thread::sleep_for(std::chrono::milliseconds(500));  // it is at the key service
    ::kill(house_.vaultd().pid(), SIGTERM);
    std::this_thread::sleep_for(std::chrono::milliseconds(3500));
    ::kill(house_.kmsd().pid(), SIGCONT);
    EXPECT_EQ(revealed.get(), R"({"access_token":"x"})");
    EXPECT_EQ(house_.vaultd().wait_exit(), 0) << house_.vaultd().output();
}

// What waits for another service longer than a stop may last is broken off in time for its answer.
TEST_F(VaultdTest, AWriteThroughThatHangsWhenItStopsIsAnswered) {
    TlsPeer directus(house_.kms().pki().server("directus"), {}, [](const auto&) {
        return PeerReply{"", PeerReply::Then::hold};
    });
    start_with_directus(directus.url());
    auto patient = house_.to_vaultd(house_.app_files);
    patient.deadline = std::chrono::seconds(15);
    patient.retry_budget = std::chrono::milliseconds(0);
    kms::Client app(patient);
    auto stored = std::async(std::launch::async, [&] {
        return app.send("PUT", profile, R"({"secret":{"k":1}})").status;
    });
    while (directus.requests() == 0) std::this_thread::yield();
    ::kill(house_.vaultd().pid(), SIGTERM);
    EXPECT_EQ(stored.get(), 503);
    EXPECT_EQ(house_.vaultd().wait_exit(), 0) << house_.vaultd().output();
}

TEST_F(VaultdTest, AKillLosesNoAcknowledgedCredential) {
    std::vector<std::string> acknowledged;
    for (int round = 0; round < 5; ++round) {
        house_.start();
        auto config = house_.to_vaultd(house_.app_files);
        config.deadline = std::chrono::milliseconds(1500);
        kms::Client app(config);
        for (const auto& name : acknowledged) {
            const std::string path = "/v1/owners/acme/credentials/" + name;
            EXPECT_EQ(secret_of(app, path.c_str()), "{\"name\":\"" + name + "\"}")
                << "round " << round;
        }
        // The kill comes from beside, at whatever point the next store has reached.
        std::atomic<int> stored = 0;
        std::thread killer([&] {
            while (stored < 3 + round) std::this_thread::yield();
            house_.vaultd().kill();
        });
        for (int i = 0; i < 1000; ++i) {
            const std::string name = std::to_string(round) + "-" + std::to_string(i);
            try {
                app.call("PUT", "/v1/owners/acme/credentials/" + name,
                         R"({"secret":{"name":")" + name + "\"}}");
                acknowledged.push_back(name);
                ++stored;
            } catch (const base::Error&) {
                break;  // killed
            }
        }
        stored = 1000;
        killer.join();
    }
    EXPECT_GT(acknowledged.size(), 4U);
}

TEST_F(VaultdTest, AWrongStartIsRefusedInOneSentence) {
    const auto refused = [&](const std::string& from, const std::string& to,
                             const std::string& part) {
        std::string text = house_.config_text();
        ASSERT_NE(text.find(from), std::string::npos) << from;
        text.replace(text.find(from), from.size(), to);
        house_.kms().write("vaultd.json", text);
        Daemon daemon(house_.options());
        EXPECT_EQ(daemon.wait_exit(), 1) << daemon.output();
        EXPECT_NE(daemon.output().find(part), std::string::npos) << daemon.output();
    };
    give_to_daemon_user(house_.kms().folder());
    refused("\"port\": 0", "\"port\": \"0\"", "\"listen.port\"");
    refused("\"port\": 0", "\"port\": " + std::to_string(house_.kmsd().wait_ready()), "in use");
    refused("https://", "http://", "\"kms.url\"");
    refused("alias/credentials", "credentials", "\"kms.master_key\"");
    refused("\"sqlite\": \"vault.db\"", "\"sqlite\": \"kms.db\"", "kms.db");
    refused("pki/vaultd-client.key", "pki/missing.key", "missing.key");
    refused("policy-vault.json", "policy-kms.json", "create_data_key");
    refused("\"store\"", "\"stores\"", "store");

    house_.kms().write("vaultd.json", house_.config_text());
    DaemonOptions as_root = house_.options();
    as_root.keep_user = true;
    Daemon root(as_root);
    EXPECT_EQ(root.wait_exit(), 1);
    EXPECT_NE(root.output().find("root"), std::string::npos) << root.output();
    DaemonOptions with_secret = house_.options();
    with_secret.environment["CREDENTIALS_ENC_KEY_B64"] = "c2VjcmV0LXZhbHVl";
    Daemon secret(with_secret);
    EXPECT_EQ(secret.wait_exit(), 1);
    EXPECT_NE(secret.output().find("CREDENTIALS_ENC_KEY_B64"), std::string::npos)
        << secret.output();
    EXPECT_EQ(secret.output().find("c2VjcmV0"), std::string::npos) << secret.output();
}

TEST(VaultdConfig, WhoSignsTheCheckpointsIsAKeyOrAnAlias) {
    const TemporaryDirectory folder;
    const std::string example = base::read_file(STRONGROOM_EXAMPLES "/vaultd.json", 1 << 20);
    const std::string given = R"("signing_key": "alias/vault-audit")";
    ASSERT_NE(example.find(given), std::string::npos);
    for (const std::string& wrong :
         {std::string(R"("signing_key": "vault-audit")"), std::string(R"("signing_key": "alias/")"),
          std::string(R"("keep_days": 400)")}) {
        std::string text = example;
        text.replace(text.find(given), given.size(), wrong);
        EXPECT_ERROR_SAYING(invalid_argument, "audit.checkpoints.signing_key",
                            vault::read_config(folder.write("vaultd.json", text, 0600)));
    }
}

TEST(VaultdConfig, TheExampleIsReadWhole) {
    const auto config = vault::read_config(STRONGROOM_EXAMPLES "/vaultd.json");
    EXPECT_EQ(config.edge.listen.front().port, 7444);
    EXPECT_EQ(config.master_key, "alias/credentials");
    EXPECT_EQ(config.kms.url, "https://127.0.0.1:7443");
    EXPECT_EQ(config.kms.deadline, kms::ClientConfig().deadline)
        << "the example shows the defaults";
    EXPECT_EQ(config.kms.connect_timeout, kms::ClientConfig().connect_timeout);
    EXPECT_EQ(config.destruction_key, "alias/vault-audit");
    server::Caller support;
    support.id = "spiffe://strongroom/support/anna";
    EXPECT_TRUE(config.reasons.ask(support, vault::credential_resource({"acme", "a"})));
    EXPECT_EQ(std::get<server::SqliteConfig>(config.store).file.filename(), "vault.db");
}

}  // namespace
}  // namespace tests
