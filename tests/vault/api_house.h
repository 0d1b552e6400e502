// The vault's routes without sockets, over the World's parts.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/log.h"
#include "server/audit.h"
#include "server/metrics.h"
#include "tests/support/declared_kinds.h"
#include "tests/vault/api_calls.h"
#include "tests/vault/world.h"
#include "vault/actions.h"
#include "vault/api.h"

namespace tests {

class VaultApiHouse : public ::testing::Test {
protected:
    VaultApiHouse() { build(); }

    void build() {
        vault::ApiParts parts{*world_.service, world_.authorizer, *world_.store, world_.keys,
                              audit_,          metrics_};
        parts.log = log_of_rows_;
        api_ = std::make_unique<vault::Api>(std::move(parts));
        routes_ = std::make_unique<server::RouteTable>(api_->routes());
    }

    // A hand in the database while the vault is stopped.
    void edit(const std::string& sql) {
        world_.edit(sql);
        build();
    }

    Answer send(server::Method method, const std::string& target, const std::string& body = {},
                const std::string& caller = "acme",
                const std::string& content_type = "application/json") {
        auto operation = world_.operation(caller);
        operation.set_traceparent(traceparent);
        Answer answer = call(*routes_, operation, method, target, body, content_type);
        expect_declared_kinds(operation, vault::known_actions());
        facts_ = operation.facts();
        items_ = operation.items();
        return answer;
    }
    Answer put(const std::string& body, const std::string& caller = "acme") {
        return send(server::Method::PUT, one, body, caller);
    }
    Answer reveal(const std::string& body = {}, const std::string& caller = "acme") {
        return send(server::Method::POST, one + "/reveal", body, caller);
    }

    const std::string one = "/v1/owners/acme/credentials/instagram";
    const std::string all = "/v1/owners/acme/credentials";
    const std::string traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    World world_;
    base::Log log_{"test", base::LogLevel::error};
    base::Log* log_of_rows_ = nullptr;  // takes what is wrong with rows, from the next build() on
    server::AuditLog audit_{
        {.directory = world_.directory / "audit",
         .daemon = "vaultd",
         .node = "test",
         .bound = std::chrono::minutes(1)},  // a busy disk is no reason to refuse
        world_.clock,
        log_};
    server::Metrics metrics_{"vaultd"};
    std::unique_ptr<vault::Api> api_;
    std::unique_ptr<server::RouteTable> routes_;
    std::map<std::string, std::string> facts_;
    std::vector<server::ItemOutcome> items_;
};

}  // namespace tests
