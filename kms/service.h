// What the key service does with its keys, whatever the dialect it is asked in: data keys are made,
// unwrapped and wrapped anew, small texts are encrypted and decrypted. Every method takes the Grant
// that allows it, and asks the table of states (kms/states.h) and the key's context rule right
// before the act. The life of the keys themselves is kms/lifecycle.h. No HTTP, no JSON and no SQL
// in here.
#pragma once

#include <mutex>
#include <span>
#include <variant>
#include <vector>

#include "base/error.h"
#include "base/key_commitment.h"
#include "base/log.h"
#include "hsm/token.h"
#include "kms/catalogue.h"
#include "kms/envelope.h"
#include "kms/opening.h"
#include "kms/reconcile.h"
#include "kms/sealing.h"
#include "kms/states.h"
#include "kms/usage.h"
#include "server/authorizer.h"

namespace kms {

// Items of one call.
inline constexpr std::size_t max_batch = 1000;

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

// One envelope to open. Nothing but the envelope is owned.
struct OpenJob {
    const server::Grant* grant = nullptr;  // for the key named in `envelope`
    // Use_compromised_key on the same key, for what only that allows; null: the caller has it not.
    const server::Grant* compromised = nullptr;
    const Context* context = nullptr;
    Envelope envelope;
};

// One wrapped data key to wrap anew.
struct RewrapJob {
    OpenJob from;                           // grant: rewrap_data_key on the key it has
    const server::Grant* target = nullptr;  // rewrap_data_key on `to_key`
    base::Uuid to_key;
    const Context* to_context = nullptr;
};

// Thread-safe. Everything passed by reference must outlive it. Every method throws internal when
// the grant is for another action or resource, unavailable when token or store don't answer or when
// the token's key is missing or not the one it was, failed_precondition, naming the state, when
// the key's state forbids the work or when the key is for other work, and invalid_argument, naming
// the key of the context, when the context is against the key's rule.
class KeyService {
public:
    KeyService(Catalogue& catalogue, hsm::Token& token, UsageCounter& usage, base::Log& log,
               std::vector<VersionName> unproven = {});

    // Fresh data keys from the token's generator, wrapped under the primary version. Each was
    // opened again and compared before it is returned, next to the proof that the master key is the
    // right one. Grant: create_data_key on the key. Throws not_found, invalid_argument.
    FreshDataKeys create_data_keys(const server::Grant& grant, const base::Uuid& key_id,
                                   const Context& context, const NewDataKeys& wanted);

    // Grant: unwrap_data_key on the key. Throws integrity_failure when it does not open.
    base::SecretBytes unwrap(const OpenJob& job);
    // The same for many, in one pass over the token; each has its own answer, in order. Throws only
    // when the token does not answer at all, or for a wrong grant.
    std::vector<OpenAnswer> unwrap_many(std::span<const OpenJob> jobs);

    // The data key under the target's primary version, bound to `to_context`; its plaintext is seen
    // by nobody. What is so already comes back as it is, once it has opened. Throws
    // integrity_failure when it does not open, not_found when there is no target key.
    // With `commitments` (null: nobody asks) each job that succeeded leaves the commitment of its
    // data key there (base/key_commitment.h), in order, of what was compared with the new one.
    Envelope rewrap(const RewrapJob& job, std::vector<base::KeyCommitment>* commitments = nullptr);
    std::vector<SealAnswer> rewrap_many(std::span<const RewrapJob> jobs,
                                        std::vector<base::KeyCommitment>* commitments = nullptr);

    // Text of min_text_bytes to max_text_bytes under the primary version, opened again and compared
    // before it is returned. Grant: encrypt on the key. Throws not_found, invalid_argument.
    Envelope encrypt(const server::Grant& grant, const base::Uuid& key_id, const Context& context,
                     base::ByteView plaintext);
    // Grant: decrypt on the key. Throws integrity_failure when it does not open.
    base::SecretBytes decrypt(const OpenJob& job);

    // Throws unavailable when the token does not answer, or when a master key that was missing or
    // different at start still is.
    void check_token();

private:
    struct Work;
    std::vector<OpenAnswer> open_many(const Work& work, const CatalogueSnapshot& snapshot,
                                      std::span<const OpenJob* const> jobs);

    Catalogue& catalogue_;
    hsm::Token& token_;
    UsageCounter& usage_;
    Opener opener_;
    Sealer sealer_;
    std::mutex unproven_mutex_;
    std::vector<VersionName> unproven_;
};

}  // namespace kms
