// What the key service does with its keys, whatever the dialect it is asked in: data keys are made,
// wrapped and unwrapped. Every method takes the Grant that allows it. The life of the keys
// themselves is kms/lifecycle.h. No HTTP, no JSON and no SQL in here.
#pragma once

#include <map>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "base/error.h"
#include "base/log.h"
#include "hsm/token.h"
#include "kms/catalogue.h"
#include "kms/envelope.h"
#include "kms/reconcile.h"
#include "kms/usage.h"
#include "server/authorizer.h"

namespace kms {

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
    KeyService(Catalogue& catalogue, hsm::Token& token, UsageCounter& usage, base::Log& log,
               std::vector<VersionName> unproven = {});

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
    void verify_fresh(const KeyPointer& key, const base::Bytes& aad, base::ByteView plaintexts,
                      std::span<const hsm::Encrypted> wrapped);
    // Why a data key did not open: integrity_failure, or unavailable when the master key is to
    // blame.
    base::Error explain_failure(const Key& key, const KeyVersion& version);

    Catalogue& catalogue_;
    hsm::Token& token_;
    UsageCounter& usage_;
    base::Log& log_;
    std::mutex unproven_mutex_;
    std::vector<VersionName> unproven_;
};

}  // namespace kms
