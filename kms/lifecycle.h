// The life of master keys: made, listed, described. What is done with them is kms/service.h. Every
// method takes the Grant that allows it. No HTTP, no JSON and no SQL in here.
#pragma once

#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "hsm/token.h"
#include "kms/catalogue.h"
#include "kms/store.h"
#include "kms/usage.h"
#include "server/authorizer.h"

namespace kms {

struct NewKey {
    std::string alias;  // empty: none
    std::string description;
    std::map<std::string, std::string> tags;
    hsm::KeyProfile profile = hsm::KeyProfile::sealed;
};

struct KeyDescription {
    KeyPointer key;
    // One for each version, read from the token just now; empty when the token has no such key.
    std::vector<std::optional<hsm::KeyAttributes>> attributes;
};

struct KeyPage {
    std::vector<KeyPointer> keys;
    std::optional<base::Uuid> next;  // pass as `after` for the page behind; empty at the end
};

// Thread-safe. Everything passed by reference must outlive it. Every method throws internal when
// the grant is for another action or resource, unavailable when token or store don't answer.
class KeyLifecycle {
public:
    KeyLifecycle(Catalogue& catalogue, Store& store, hsm::Token& token, UsageCounter& usage,
                 const base::Clock& clock);

    // Makes a master key in the token; durable when it returns. Grant: create_key on "key:*".
    // Throws already_exists when the alias is taken, invalid_argument when it is no alias.
    KeyDescription create(const server::Grant& grant, const NewKey& wanted);

    // Grant: list_keys on "key:*".
    KeyPage list(const server::Grant& grant, const std::optional<base::Uuid>& after,
                 std::size_t limit) const;

    // Grant: describe_key on the key. Throws not_found.
    KeyDescription describe(const server::Grant& grant, const base::Uuid& key_id);

private:
    KeyPointer require_key(const base::Uuid& key_id) const;
    // The key with the counters of this moment, for showing.
    KeyPointer with_usage(const KeyPointer& key) const;

    Catalogue& catalogue_;
    Store& store_;
    hsm::Token& token_;
    UsageCounter& usage_;
    const base::Clock& clock_;
    // One creation at a time, so that an alias is checked and taken in one.
    std::mutex create_mutex_;
};

}  // namespace kms
