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

enum class Standing {
    unknown,    // not looked at since the member's last login
    proven,     // it has the key that the others have
    absent,     // it has none
    different,  // it has another one, and is not used for it until it has the right one
};

// Safe to share between threads.
class KeyAgreement {
public:
    using Instant = std::chrono::steady_clock::time_point;

    // All must outlive it. `changed` is called when a member is found to have another key than the
    // others, or to have the right one again, or when that has to be found out anew; on the thread
    // that found it.
    KeyAgreement(TokenMembers& members, TokenSetPauses pauses, base::Log& log,
                 std::function<void()> changed)
        : members_(members), pauses_(pauses), log_(log), changed_(std::move(changed)) {}

    Standing standing(const KeyId& key, std::size_t member) const;
    // Whether it is time to look again at what is not proven; then not again before a pause.
    bool take_look(const KeyId& key, std::size_t member);

    // Has the member's key prove that it is the one of the others, and notes what comes of it. The
    // first member that is asked sets what the others must fit to, with one encryption, one MAC or
    // its public key, unless hold_to() has; the member's token is held to that. `unknown` when
    // nobody has, and the member's key is of no such use or there twice: another one's may be good.
    // Throws what the token throws, but for not_found.
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
    // What all members must fit to from now on, whoever set something else.
    void hold_to(const KeyId& key, const KeyEvidence& known);

    // How many keys the member has another one of.
    std::size_t different_keys(std::size_t member) const;
    // Of these, those that it is time to look at again, with their use, as take_look() says; `most`
    // at a time.
    std::vector<std::pair<KeyId, KeyUse>> take_looks(std::size_t member, std::size_t most);

private:
    struct Place {
        Standing standing = Standing::unknown;
        std::uint64_t generation = 0;
        Instant next_look{};
        std::chrono::milliseconds pause{0};
    };
    struct Entry {
        std::optional<KeyEvidence> proof;
        std::vector<Place> places;
    };

    static KeyEvidence make_proof(const KeyId& key, KeyUse use, Token& token);
    std::optional<KeyEvidence> find_proof(const KeyId& key) const;
    // False when there is one that another thread has kept meanwhile.
    bool keep_proof(const KeyId& key, const KeyEvidence& made);
    static Standing judge(const KeyId& key, const KeyEvidence& proof, Token& token);
    // Empty, and nothing is noted, when what it was judged by, if given, is not what the members
    // must fit to any more.
    std::optional<Standing> note(const KeyId& key, std::size_t member, Standing standing,
                                 std::uint64_t generation, const KeyEvidence* judged_by);
    Standing note_absent(const KeyId& key, std::size_t member, std::uint64_t generation);
    Place& place(const KeyId& key, std::size_t member);
    bool take_look(Place& looked_at, std::size_t member) const;

    TokenMembers& members_;
    const TokenSetPauses pauses_;
    base::Log& log_;
    const std::function<void()> changed_;
    mutable std::shared_mutex mutex_;
    std::unordered_map<KeyId, Entry> entries_;
};

}  // namespace hsm
