// Encrypts under master keys, and lets nothing out that was not opened again and compared: neither
// a bit that flipped between the token and here nor another key under the same id may reach a
// record that somebody keeps for years.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <variant>
#include <vector>

#include "base/error.h"
#include "base/log.h"
#include "hsm/token.h"
#include "kms/envelope.h"
#include "kms/key.h"
#include "kms/usage.h"

namespace kms {

// Nothing is owned.
struct SealItem {
    const Key* key = nullptr;  // its primary version encrypts
    const Context* context = nullptr;
    base::ByteView plaintext;
};

// The envelope, or why not: failed_precondition when the key version may make no more encryptions,
// unavailable when its key is missing in the token or not the one it was, or when what it made did
// not open again, twice.
using SealAnswer = std::variant<Envelope, base::Error>;

// Thread-safe. Everything passed by reference must outlive it.
class Sealer {
public:
    Sealer(hsm::Token& token, UsageCounter& usage, base::Log& log)
        : token_(token), usage_(usage), log_(log) {}

    // In order, under any mix of keys. Each encryption is counted before it is made. Throws only
    // when the token answers for none of the keys.
    std::vector<SealAnswer> seal(EnvelopeKind kind, std::span<const SealItem> items);

private:
    // What one pass works on and leaves behind: an answer, or nothing for what did not open again.
    struct Pass;
    std::vector<SealAnswer> seal_together(EnvelopeKind kind, std::span<const SealItem> items);
    void count(Pass& pass);
    void encrypt(Pass& pass);
    void compare(Pass& pass);
    // Of a key whose known answer did not open, why; empty when it does now.
    using Unproven = std::map<const Key*, std::optional<base::Error>>;
    std::optional<base::Error> hold(const Key& key);
    void judge(Pass& pass, const Unproven& unproven,
               std::span<const std::optional<base::SecretBytes>> opened);

    hsm::Token& token_;
    UsageCounter& usage_;
    base::Log& log_;
};

}  // namespace kms
