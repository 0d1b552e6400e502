// Which members of a token set (hsm/token_set.h) have the same key under an id, and how that is
// proven: a known answer that only one key fits to. Calls no token but the one that it is given.
#pragma once

#include <chrono>
#include <functional>
#include <shared_mutex>
#include <unordered_map>
#include <vector>

#include "hsm/token_members.h"

namespace hsm {

enum class KeyUse { encrypts, makes_macs, is_pair };

enum class Standing {
    unknown,    // not looked at since the member's last login
    proven,     // it has the key that the others have
    absent,     // it has none
    different,  // it has another one, and is not used for it
};

// Safe to share between threads.
class KeyAgreement {
public:
    using Instant = std::chrono::steady_clock::time_point;

    // All must outlive it.
    KeyAgreement(TokenMembers& members, TokenSetPauses pauses, base::Log& log)
        : members_(members), pauses_(pauses), log_(log) {}

    Standing standing(const KeyId& key, std::size_t member) const;
    // Whether it is time to look again at what is not proven; then not again before a pause.
    bool take_look(const KeyId& key, std::size_t member);

    // Has the member's key prove that it is the one of the others, and notes what comes of it. The
    // first member that is asked sets what the others must fit to, with one encryption, one MAC or
    // its public key. `unknown` when none has, and the member's key is of no such use or there
    // twice: another one's may be good. Throws what the token throws, but for not_found.
    Standing prove(const KeyId& key, KeyUse use, std::size_t member, Token& token);
    // The same for a key that has proven itself before, whatever it is noted as; `unknown` when no
    // member has set anything.
    Standing prove_again(const KeyId& key, std::size_t member, Token& token);

    void note_absent(const KeyId& key, std::size_t member);
    // It failed with this key for a reason that may be the key's: others are asked first, until it
    // has proven itself anew.
    void note_trouble(const KeyId& key, std::size_t member);
    // There is nothing under this id any more, or something new.
    void forget(const KeyId& key);

    // How many keys the member has another one of.
    std::size_t different_keys(std::size_t member) const;

private:
    struct Proof {
        KeyUse use = KeyUse::encrypts;
        Encrypted answer;  // of a pair the public key, of a MAC key the MAC, in `ciphertext`
    };
    struct Place {
        Standing standing = Standing::unknown;
        std::uint64_t generation = 0;
        Instant next_look{};
        std::chrono::milliseconds pause{0};
    };
    struct Entry {
        std::optional<Proof> proof;
        std::vector<Place> places;
    };

    static Proof make_proof(const KeyId& key, KeyUse use, Token& token);
    static bool test_proof(const KeyId& key, const Proof& proof, Token& token);
    std::optional<Proof> find_proof(const KeyId& key) const;
    // What another thread has kept meanwhile; empty when it is this one.
    std::optional<Proof> keep_proof(const KeyId& key, Proof made);
    Standing judge(const KeyId& key, const Proof& proof, Token& token) const;
    Standing note(const KeyId& key, std::size_t member, Standing standing,
                  std::uint64_t generation);
    Place& place(const KeyId& key, std::size_t member);

    TokenMembers& members_;
    const TokenSetPauses pauses_;
    base::Log& log_;
    mutable std::shared_mutex mutex_;
    std::unordered_map<KeyId, Entry> entries_;
};

}  // namespace hsm
