// A vault in one piece for tests, without a network: SQLite in a directory of its own, a fake key
// service, a clock that stands still, and a policy with four callers.
#pragma once

#include <gtest/gtest.h>
#include <sqlite3.h>

#include <memory>
#include <string>
#include <string_view>

#include "server/authorizer.h"
#include "server/policy.h"
#include "tests/support/fake_clock.h"
#include "tests/support/sql_store.h"
#include "tests/support/temporary_directory.h"
#include "tests/vault/fake_data_keys.h"
#include "vault/actions.h"
#include "vault/service.h"
#include "vault/sql_store.h"

namespace tests {

inline constexpr std::string_view vault_policy = R"({
    "version": 1,
    "roles": {
        "acme": [{"id": "acme-all", "effect": "allow", "actions": ["*"], "resources": ["credential:acme/*", "value:*"]}],
        "globex": [{"id": "globex-all", "effect": "allow", "actions": ["*"], "resources": ["credential:globex/*", "value:*"]},
                   {"id": "globex-private", "effect": "deny", "actions": ["open"], "resources": ["value:*/sealed-only*"]}],
        "reader": [{"id": "reader", "effect": "allow", "actions": ["describe_credential", "list_credentials"],
                    "resources": ["credential:acme/*"]}],
        "operator": [{"id": "operator", "effect": "allow", "actions": ["observe", "list_credentials"], "resources": ["*"]}]
    },
    "bindings": [
        {"caller": "spiffe://strongroom/acme", "roles": ["acme"]},
        {"caller": "spiffe://strongroom/globex", "roles": ["globex"]},
        {"caller": "spiffe://strongroom/reader", "roles": ["reader"]},
        {"caller": "spiffe://strongroom/operator", "roles": ["operator"]}
    ]
})";

class World {
public:
    server::Operation operation(const std::string& caller = "acme") const {
        server::Caller who;
        who.id = "spiffe://strongroom/" + caller;
        who.method = server::AuthenticationMethod::client_certificate;
        return {base::Uuid::random(), clock.now(), std::move(who)};
    }

    std::filesystem::path database_file() const { return directory / "vault.db"; }

    // A hand in the database, while the vault is stopped. The store and the service are new then.
    // Returns how many rows the last statement changed.
    int edit(const std::string& sql) {
        service.reset();
        store.reset();
        sqlite3* database = nullptr;
        EXPECT_EQ(sqlite3_open(database_file().c_str(), &database), SQLITE_OK);
        EXPECT_EQ(sqlite3_exec(database, sql.c_str(), nullptr, nullptr, nullptr), SQLITE_OK)
            << sqlite3_errmsg(database);
        const int changed = sqlite3_changes(database);
        sqlite3_close(database);
        start();
        return changed;
    }

    // Anew when there were some.
    void start() {
        service.reset();
        store.reset();
        store = std::make_unique<OwnSqlite<vault::SqlStore>>(database_file());
        service = std::make_unique<vault::CredentialService>(
            *store, keys, clock, vault::ServiceOptions{reasons, signer, &authorizer, copies});
    }

    World() { start(); }

    TemporaryDirectory directory;
    FakeClock clock;
    FakeDataKeys keys;
    vault::ReasonRules reasons;                  // in force after the next start()
    vault::DestructionSigner* signer = nullptr;  // the same
    const vault::Copies* copies = nullptr;       // the same
    server::Authorizer authorizer{server::parse_policy(vault_policy, vault::known_actions())};
    std::unique_ptr<vault::Store> store;
    std::unique_ptr<vault::CredentialService> service;
};

}  // namespace tests
