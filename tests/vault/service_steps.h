// What a caller does with the vault's service, each step authorised as the API does it, for the
// service's tests.
#pragma once

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "tests/vault/world.h"
#include "vault/service.h"

namespace tests {

using vault::CredentialId;

// The steps of one caller: each authorises as the API does.
class Steps {
public:
    Steps(World& world, std::string caller) : world_(world), caller_(std::move(caller)) {}

    vault::StoreResult store(const CredentialId& id, std::string_view secret,
                             std::optional<std::uint64_t> if_version = std::nullopt) {
        vault::StoreRequest request;
        request.secret = base::SecretBytes(base::as_bytes(secret));
        request.if_version = if_version;
        request.expires_at = expires_at;
        auto operation = world_.operation(caller_);
        return world_.service->store(grant(operation, vault::store_credential, id), request,
                                     "00-trace-01");
    }
    std::string reveal(const CredentialId& id,
                       std::optional<std::uint64_t> version = std::nullopt) {
        auto operation = world_.operation(caller_);
        const auto revealed = world_.service->reveal(grant(operation, vault::reveal_credential, id),
                                                     version, "00-trace-02");
        return std::string(revealed.secret.expose_text());
    }
    vault::CredentialInfo describe(const CredentialId& id) {
        auto operation = world_.operation(caller_);
        return world_.service->describe(grant(operation, vault::describe_credential, id));
    }
    vault::StoreResult restore(const CredentialId& id, std::uint64_t version,
                               std::optional<std::uint64_t> if_version = std::nullopt) {
        vault::RestoreRequest request{
            .version = version, .expires_at = expires_at, .if_version = if_version};
        auto operation = world_.operation(caller_);
        return world_.service->restore(grant(operation, vault::restore_credential, id), request,
                                       "00-trace-04");
    }
    vault::VersionPage history(const CredentialId& id) {
        auto operation = world_.operation(caller_);
        return world_.service->history(grant(operation, vault::describe_credential, id), 0, 100);
    }
    vault::Destruction destroy(const CredentialId& id) {
        auto operation = world_.operation(caller_);
        return world_.service
            ->destroy(grant(operation, vault::delete_credential, id), "00-trace-05")
            .destruction;
    }
    server::Grant grant(server::Operation& operation, server::Action action,
                        const CredentialId& id) {
        return world_.authorizer.authorize(operation, action, vault::credential_resource(id));
    }

    std::optional<base::Time> expires_at;

private:
    World& world_;
    std::string caller_;
};

class CredentialServiceTest : public ::testing::Test {
protected:
    World world_;
    Steps acme_{world_, "acme"};
    Steps globex_{world_, "globex"};
    const CredentialId instagram_{"acme", "instagram"};
    const CredentialId facebook_{"acme", "facebook"};
};

// As the API authorises, with another call's other tags between the question and the work.

}  // namespace tests
