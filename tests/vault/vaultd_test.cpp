// vaultd as a process, with a real kmsd on a real token behind it.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <fstream>
#include <future>
#include <map>
#include <sstream>
#include <thread>

#include "base/encoding.h"
#include "base/file.h"
#include "base/json.h"
#include "server/checkpoint.h"
#include "tests/support/expect_error.h"
#include "tests/support/openssl_verify.h"
#include "tests/support/sql_store.h"
#include "tests/support/tls_peer.h"
#include "tests/vault/data_keys_contract.h"
#include "tests/vault/vault_house.h"
#include "vault/config.h"
#include "vault/kms_data_keys.h"
#include "vault/service.h"

namespace tests {
namespace {

constexpr const char* one = "/v1/owners/acme/credentials/instagram";

std::string content_of(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
}

std::string content_of_folder(const std::filesystem::path& folder) {
    std::string all;
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
        if (entry.is_regular_file()) all += content_of(entry.path());
    }
    return all;
}

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

class VaultdTest : public testing::Test {
protected:
    std::string secret_of(kms::Client& app, const char* path = one) {
        const auto answer = app.call("POST", std::string(path) + "/reveal", "");
        return std::string(base::to_json(*answer.find("secret")));
    }

    // With copies there; the application may do everything with all, and the operator rewrap.
    // `more`: members of its configuration.
    void start_with_directus(const std::string& url, const std::string& more = {}) {
        std::string policy = VaultHouse::policy_text();
        policy.replace(policy.find("credential:acme/*"), 17, "credential:*");
        policy.replace(policy.find(R"("observe")"), 9,
                       R"("observe", "start_rewrap_job", "describe_rewrap_job")");
        house_.kms().write("policy-vault.json", policy);
        const auto token = house_.kms() / "directus.token";
        house_.kms().write("directus.token", "directus-static-token-0123456789\n");
        std::filesystem::permissions(token, std::filesystem::perms(0600));
        give_to_daemon_user(token);
        std::string config = house_.config_text();
        config.insert(
            config.rfind('}'),
            R"(, "compat": {"shared_secret": {"directus": {)" + more +
                R"("collection": "profiles", "url": ")" + url +
                R"(", "ca": "pki/ca.crt", "token": {"file": "directus.token"}, "deadline_ms": 10000}}})");
        house_.kms().write("vaultd.json", config);
        house_.start();
    }

    const std::string profile =
        "/v1/owners/0b5a4e0c-5f0e-4a57-9f0b-3d3c1f0f6d11/credentials/platforms";
    VaultHouse house_;
};

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

TEST_F(VaultdTest, OpensslAgreesWithTheKeyServicesSignatureOfADestruction) {
    for (const auto& [kind, scheme] : std::vector<std::pair<std::string, OpensslScheme>>{
             {"ed25519", OpensslScheme::ed25519}, {"ecdsa_p256", OpensslScheme::ecdsa_sha256}}) {
        VaultHouse house;
        kms::Client(house.to_kmsd(house.operator_files))
            .call("POST", "/v1/keys", R"({"alias":"vault-audit","kind":")" + kind + "\"}");
        std::string config = house.config_text();
        config.insert(config.rfind('}'),
                      R"(, "destructions": {"signing_key": "alias/vault-audit"})");
        house.kms().write("vaultd.json", config);
        house.start();
        EXPECT_EQ(house.vaultd().output().find("not signed"), std::string::npos);
        kms::Client app(house.to_vaultd(house.app_files));
        app.call("PUT", one, R"({"secret":{"k":1}})");
        app.call("PUT", "/v1/owners/acme/credentials/facebook", R"({"secret":{"k":1}})");
        const auto deleted = app.call("DELETE", one, "");
        const auto erased = app.call("POST", "/v1/owners/acme/erase", "");
        const auto pem = kms::Client(house.to_kmsd(house.vault_files))
                             .call("GET", "/v1/keys/alias/vault-audit/public-key", "");
        const auto key =
            server::NoteKey::from_pem(std::string_view(*pem.find("public_key")->string())).to_der();
        for (const auto* answer : {&deleted, &erased}) {
            const auto* record = answer->find("record");
            std::string text(*record->find("text")->string());
            const auto signature = base::parse_base64(*record->find("signature")->string());
            ASSERT_TRUE(signature);
            EXPECT_TRUE(openssl_verifies(scheme, key, base::as_bytes(text), *signature)) << text;
            text[text.size() / 2] ^= 1;
            EXPECT_FALSE(openssl_verifies(scheme, key, base::as_bytes(text), *signature));
        }
        app.call("PUT", one, R"({"secret":{"k":1}})");
        EXPECT_EQ(house.kmsd().stop(), 0);
        EXPECT_EQ(app.send("DELETE", one).status, 503);
        EXPECT_EQ(app.call("GET", one, "").find("version")->integer(), 2) << "it is still there";
    }
}

TEST_F(VaultdTest, TheRealKeyServiceKeepsTheContractOfDataKeys) {
    kms::Client client(house_.to_kmsd(house_.vault_files));
    vault::KmsDataKeys keys(client, "alias/credentials");
    expect_data_keys_contract(keys);
    expect_data_keys_contract_of_batches(keys);
    const vault::DataKey old = keys.create({{"owner", "acme"}}, "");
    kms::Client(house_.to_kmsd(house_.operator_files))
        .call("POST", "/v1/keys/alias/credentials/rotate", "");
    expect_rewrap_after_rotation(keys, old, {{"owner", "acme"}});
    vault::KmsDataKeys unknown(client, "alias/unknown");
    EXPECT_ERROR(unavailable, unknown.create({}, ""));
    kms::Client stranger(house_.to_kmsd(house_.stranger_files));
    vault::KmsDataKeys refused(stranger, "alias/credentials");
    EXPECT_ERROR_SAYING(unavailable, "refuses this vault", refused.create({}, ""));
}

TEST_F(VaultdTest, WithoutTheKeyServiceEveryRevealIs503WithinTheDeadline) {
    house_.start();
    kms::Client app(house_.to_vaultd(house_.app_files));
    app.call("PUT", one, R"({"secret":{"k":1}})");
    EXPECT_EQ(secret_of(app), R"({"k":1})");
    EXPECT_EQ(house_.kmsd().stop(), 0);
    const auto before = std::chrono::steady_clock::now();
    const auto answer = app.send("POST", std::string(one) + "/reveal");
    EXPECT_EQ(answer.status, 503) << std::string_view(answer.body);
    EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(5));
    EXPECT_EQ(app.send("PUT", one, R"({"secret":{"k":2}})").status, 503);
    EXPECT_EQ(app.call("GET", one, "").find("version")->integer(), 1) << "metadata needs no key";
    kms::Client observer(house_.to_vaultd(house_.operator_files));
    const auto ready = observer.send("GET", "/readyz");
    EXPECT_EQ(ready.status, 503);
    EXPECT_NE(ready.body.find("\"store\":\"ok\""), std::string::npos)
        << std::string_view(ready.body);
}

TEST_F(VaultdTest, AKeyServiceThatTakesACallAndNeverAnswersIsA503WithinTheDeadline) {
    std::string config = house_.config_text();
    config.replace(config.find(R"("deadline_ms": 2000)"), 19, R"("deadline_ms": 500)");
    house_.kms().write("vaultd.json", config);
    house_.start();
    auto patient = house_.to_vaultd(house_.app_files);
    patient.deadline = std::chrono::seconds(15);
    patient.retry_budget = std::chrono::milliseconds(0);
    kms::Client app(patient);
    // Enough tries for a machine on which half a second is short.
    const auto put = [&] { return app.send("PUT", one, R"({"secret":{"k":1}})").status; };
    int status = 503;
    for (int i = 0; i < 20 && status == 503; ++i) status = put();
    ASSERT_LT(status, 300);
    ASSERT_EQ(::kill(house_.kmsd().pid(), SIGSTOP), 0);
    // From vaultd: the client's own deadline would be an exception.
    const auto revealed = app.send("POST", std::string(one) + "/reveal");
    const auto stored = app.send("PUT", one, R"({"secret":{"k":2}})");
    ASSERT_EQ(::kill(house_.kmsd().pid(), SIGCONT), 0);
    EXPECT_EQ(revealed.status, 503) << std::string_view(revealed.body);
    EXPECT_EQ(revealed.body.find("\"k\""), std::string::npos);
    EXPECT_EQ(stored.status, 503) << std::string_view(stored.body);
    EXPECT_EQ(app.call("GET", one, "").find("version")->integer(), 1) << "nothing was stored";
}

TEST_F(VaultdTest, AnAdministratorsActForAnotherOwnerIsRecorded) {
    std::string policy = VaultHouse::policy_text();
    policy.replace(policy.find("credential:acme/*"), 17, "credential:*");
    house_.kms().write("policy-vault.json", policy);
    house_.start();
    kms::Client(house_.to_vaultd(house_.app_files)).call("PUT", one, R"({"secret":{"k":1}})");
    const auto records = [&] { return content_of_folder(house_.kms() / "audit-vault"); };
    EXPECT_NE(records().find(R"("for_another_owner":true)"), std::string::npos) << records();
}

class VaultdTamperTest : public VaultdTest {
protected:
    // A hand in the database while the vault is stopped.
    void edit(const std::string& text) {
        EXPECT_EQ(house_.vaultd().stop(), 0);
        open_sqlite(house_.kms() / "vault.db")->write([&](server::Session& sql) { sql << text; });
        give_to_daemon_user(house_.kms() / "vault.db");
        house_.start();
    }
    void expect_recorded_integrity_failure(const std::string& body = {}) {
        kms::Client app(house_.to_vaultd(house_.app_files));
        EXPECT_EQ(app.send("POST", std::string(one) + "/reveal", body).status, 422);
        const std::string records = content_of_folder(house_.kms() / "audit-vault");
        const auto at = records.rfind(R"("action":"reveal_credential")");
        ASSERT_NE(at, std::string::npos);
        const std::string record = records.substr(at, records.find('\n', at) - at);
        EXPECT_NE(record.find(R"("outcome":"failed","error":"integrity_failure")"),
                  std::string::npos)
            << record;
        EXPECT_NE(record.find(R"("id":"instagram","owner":"acme")"), std::string::npos) << record;
    }
};

TEST_F(VaultdTamperTest, ARevealThatEndsInAnIntegrityFailureIsRecorded) {
    house_.start();
    {
        kms::Client app(house_.to_vaultd(house_.app_files));
        app.call("PUT", one, R"({"secret":{"k":1}})");
        app.call("PUT", "/v1/owners/acme/credentials/other", R"({"secret":{"k":2}})");
    }
    edit(
        "UPDATE versions SET sealed = (SELECT sealed FROM versions WHERE credential = 2) "
        "WHERE credential = 1");
    expect_recorded_integrity_failure();
}

// The rule fits after the edit: what it allows is refused by the seal.
TEST_F(VaultdTamperTest, AnEditedTagGetsNoSecretByARuleByTag) {
    house_.start();
    {
        kms::Client app(house_.to_vaultd(house_.app_files));
        app.call("PUT", one, R"({"secret":{"k":1},"tags":{"team":"search"}})");
        app.call("PUT", one, R"({"secret":{"k":2}})");
    }
    house_.kms().write("policy-vault.json", with(VaultHouse::policy_text(), "credential:acme/*",
                                                 "credential:*/tag/team=payments"));
    edit(R"(UPDATE credentials SET tags = '{"team":"payments"}')");
    expect_recorded_integrity_failure();
    expect_recorded_integrity_failure(R"({"version":1})");
    edit(R"(UPDATE credentials SET tags = '{"team":"search"}')");
    kms::Client app(house_.to_vaultd(house_.app_files));
    EXPECT_EQ(app.send("POST", std::string(one) + "/reveal").status, 403);
}

TEST_F(VaultdTest, WithACacheADisabledMasterKeyEndsRevealsWithinASecond) {
    std::string config = house_.config_text();
    config.insert(
        config.rfind('}'),
        R"(, "data_key_cache": {"max_age_seconds": 300, "max_entries": 10, "max_uses": 1000000})");
    house_.kms().write("vaultd.json", config);
    house_.start();
    kms::Client app(house_.to_vaultd(house_.app_files));
    kms::Client operations(house_.to_kmsd(house_.operator_files));
    app.call("PUT", one, R"({"secret":{"k":1}})");
    for (int read = 0; read < 3; ++read) EXPECT_EQ(secret_of(app), R"({"k":1})");
    EXPECT_NE(content_of_folder(house_.kms() / "audit-vault").find(R"("data_key":"cache")"),
              std::string::npos);
    operations.call("POST", "/v1/keys/alias/credentials/disable", "");
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(1);
    while (std::chrono::steady_clock::now() < end) app.send("POST", std::string(one) + "/reveal");
    EXPECT_EQ(app.send("POST", std::string(one) + "/reveal").status, 503);
    operations.call("POST", "/v1/keys/alias/credentials/enable", "");
    EXPECT_EQ(secret_of(app), R"({"k":1})");
    EXPECT_EQ(house_.kmsd().stop(), 0);
    const auto later = std::chrono::steady_clock::now() + std::chrono::seconds(1);
    while (std::chrono::steady_clock::now() < later) app.send("POST", std::string(one) + "/reveal");
    EXPECT_EQ(app.send("POST", std::string(one) + "/reveal").status, 503);
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

TEST_F(VaultdTest, NoStatementIsSafeWhileRevealsOpenCopiesInADirectus) {
    TlsPeer directus(house_.kms().pki().server("directus"), {}, [](const std::string& request) {
        const std::string item = request.substr(request.find("\r\n\r\n") + 4);
        return PeerReply{http_answer(200, R"({"data":)" + item + "}")};
    });
    start_with_directus(directus.url(), R"("read_back": true, )");
    kms::Client(house_.to_vaultd(house_.app_files)).call("PUT", profile, R"({"secret":{"k":1}})");
    kms::Client(house_.to_kmsd(house_.operator_files))
        .call("POST", "/v1/keys/alias/credentials/rotate", "");
    DaemonOptions tool;
    tool.program = built_program("vaultctl");
    tool.keep_user = true;
    const CertificateFiles& who = house_.operator_files;
    tool.arguments = {
        "--url",         "https://127.0.0.1:" + std::to_string(house_.port()),
        "--ca",          house_.kms().pki().ca().string(),
        "--certificate", who.certificate.string(),
        "--key-file",    who.key.string(),
        "rewrap",        "start",
    };
    Daemon ended(tool);
    EXPECT_EQ(ended.wait_exit(), 1) << ended.output();
    EXPECT_NE(ended.output().find("NOT safe to retire"), std::string::npos) << ended.output();
    EXPECT_NE(ended.output().find("copies in Directus"), std::string::npos) << ended.output();
    EXPECT_EQ(directus.requests(), 1);
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
