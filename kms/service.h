// What the key service does, whatever the dialect it is asked in: keys are made, listed and
// described; data keys are made, wrapped and unwrapped. Every method takes the Grant that allows
// it. No HTTP, no JSON and no SQL in here.
#pragma once

#include <map>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "hsm/token.h"
#include "kms/catalogue.h"
#include "kms/envelope.h"
#include "kms/reconcile.h"
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

struct NewDataKeys {
    std::size_t bytes = 32;  // min_data_key_bytes to max_data_key_bytes
    std::size_t count = 1;   // 1 to max_batch
    bool with_plaintext = true;
};

struct FreshDataKey {
    base::SecretBytes plaintext;  // empty when not asked for
    base::Bytes wrapped;          // kms/envelope.h
};

struct FreshDataKeys {
    base::Uuid key_id;
    std::uint32_t key_version = 0;
    std::vector<FreshDataKey> keys;
};

struct UnwrapJob {
    const server::Grant* grant = nullptr;  // not owned; for the key named in `wrapped`
    WrappedDataKey wrapped;
    base::Bytes context;  // canonical
};

// The data key, or why not.
using UnwrapAnswer = std::variant<base::SecretBytes, base::Error>;

inline constexpr std::size_t max_batch = 100;

// Thread-safe. Everything passed by reference must outlive it. Every method throws internal when
// the grant is for another action or resource, unavailable when token or store don't answer or when
// the token's key is missing or not the one it was, and failed_precondition, naming the state, when
// the key's state forbids the work.
class KeyService {
public:
    KeyService(Catalogue& catalogue, Store& store, hsm::Token& token, UsageCounter& usage,
               const base::Clock& clock, base::Log& log, std::vector<VersionName> unproven = {});

    // Makes a master key in the token; durable when it returns. Grant: create_key on "key:*".
    // Throws already_exists when the alias is taken, invalid_argument when it is no alias.
    KeyDescription create(const server::Grant& grant, const NewKey& wanted);

    // Grant: list_keys on "key:*".
    KeyPage list(const server::Grant& grant, const std::optional<base::Uuid>& after,
                 std::size_t limit) const;

    // Grant: describe_key on the key. Throws not_found.
    KeyDescription describe(const server::Grant& grant, const base::Uuid& key_id);

    // Fresh data keys from the token's generator, wrapped under the primary version. Each was
    // opened again and compared before it is returned, next to the proof that the master key is the
    // right one. Grant: create_data_key on the key. Throws not_found, invalid_argument.
    FreshDataKeys create_data_keys(const server::Grant& grant, const base::Uuid& key_id,
                                   const EncryptionContext& context, const NewDataKeys& wanted);

    // Grant: unwrap_data_key on the key. Throws integrity_failure when it does not open.
    base::SecretBytes unwrap(const UnwrapJob& job);

    // The same for many, in one pass over the token; each has its own answer, in order. Throws only
    // when the token does not answer at all, or for a wrong grant.
    std::vector<UnwrapAnswer> unwrap_many(std::span<const UnwrapJob> jobs);

    // Throws unavailable when the token does not answer, or when a master key that was missing or
    // different at start still is.
    void check_token();

private:
    KeyPointer require_key(const base::Uuid& key_id) const;
    // The key with the counters of this moment, for showing.
    KeyPointer with_usage(const KeyPointer& key) const;
    void verify_fresh(const KeyPointer& key, const base::Bytes& aad, base::ByteView plaintexts,
                      std::span<const hsm::Encrypted> wrapped);
    // Why a data key did not open: integrity_failure, or unavailable when the master key is to
    // blame.
    base::Error explain_failure(const base::Uuid& key_id, const KeyVersion& version);

    Catalogue& catalogue_;
    Store& store_;
    hsm::Token& token_;
    UsageCounter& usage_;
    const base::Clock& clock_;
    base::Log& log_;
    std::mutex
        create_mutex_;  // one creation at a time, so that an alias is checked and taken in one
    std::mutex unproven_mutex_;
    std::vector<VersionName> unproven_;
};

}  // namespace kms
