// vaultd and its key service, a real kmsd on a real token: what it asks of it, what becomes of the
// answers, and what callers get without them.
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <vector>

#include "base/encoding.h"
#include "base/json.h"
#include "server/checkpoint.h"
#include "tests/support/expect_error.h"
#include "tests/support/openssl_verify.h"
#include "tests/support/sql_store.h"
#include "tests/support/tls_peer.h"
#include "tests/vault/data_keys_contract.h"
#include "tests/vault/vaultd_process.h"
#include "vault/kms_data_keys.h"

namespace tests {
namespace {

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

TEST_F(VaultdTest, OfAMasterKeyThatIsDisabledEachItemIsRefusedAndOfOneThatIsAwayTheCallFails) {
    kms::Client client(house_.to_kmsd(house_.vault_files));
    kms::Client operations(house_.to_kmsd(house_.operator_files));
    vault::KmsDataKeys keys(client, "alias/credentials");
    const vault::DataKey old = keys.create({{"owner", "acme"}}, "");
    const std::vector<vault::WrappedKey> items{{old.wrapped, {{"owner", "acme"}}}};
    operations.call("POST", "/v1/keys/alias/credentials/disable", "");
    const auto refused = keys.unwrap_many(items, "");
    const auto* error = std::get_if<base::Error>(&refused.at(0));
    ASSERT_NE(error, nullptr);
    EXPECT_TRUE(vault::is_refusal(*error)) << error->what();
    operations.call("POST", "/v1/keys/alias/credentials/enable", "");
    EXPECT_TRUE(std::holds_alternative<base::SecretBytes>(keys.unwrap_many(items, "").at(0)));
    EXPECT_EQ(house_.kmsd().stop(), 0);
    try {
        static_cast<void>(keys.unwrap_many(items, ""));
        ADD_FAILURE() << "it is away";
    } catch (const base::Error& away) {
        EXPECT_EQ(away.code(), base::ErrorCode::unavailable);
        EXPECT_FALSE(vault::is_refusal(away)) << away.what();
    }
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
    std::string policy = VaultHouse::policy_text();
    policy.replace(policy.find("credential:acme/*"), 17, "credential:*/tag/team=payments");
    house_.kms().write("policy-vault.json", policy);
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

}  // namespace
}  // namespace tests
