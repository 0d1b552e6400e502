// Several tokens that hold the same keys, used as one: restored copies of a token, or the members
// of an HSM cluster. All of them serve; one that is lost costs its calls under way and no other.
#pragma once

#include <bitset>
#include <map>

#include "hsm/key_agreement.h"
#include "hsm/token_config.h"
#include "hsm/token_members.h"

namespace hsm {

// What operators should know of a set.
struct TokenSetState {
    std::size_t members = 0;
    std::size_t well = 0;            // of them, those that answer
    std::size_t different_keys = 0;  // keys that a member has another one of, over all members
};

// Safe to share between threads. Beside what Token says:
//
// Uses of keys go to the members in turn; to one that did not answer only when no other is left,
// until it answers again. A member is used for a key only after the key has proven to be the one
// that the others have, again after each of the member's logins. The member that is asked first for
// a key, in the order of the list, sets what the others' must fit to, unless hold_to() has; what
// hold_to() says counts for all members, also when another one had been believed. A member that has
// no such key is looked at again later, with growing pauses; so is one that has another, which is
// logged as an error and never used for it. When nobody has the key, or who might have it does not
// answer, that is not_found, or unavailable.
//
// What may be repeated is repeated once, with another member, when the first is unavailable or
// refuses service (failed_precondition). Encryptions are counted by the caller, and are not.
//
// Keys are made in the first member of the list, and in no other: they can't leave it. The others
// get them from an operator, who copies the token, or from their cluster. A key is destroyed in all
// members, when all can be reached: else unavailable, and nothing is done. find_key says that there
// is none only when all members say so.
class TokenSet final : public Token {
public:
    struct Options {
        TokenSetPauses pauses{};
        // As TokenConfig's, of any of the members; also when one is opened later.
        std::function<void()> logged_in_again{};
        // Called when a member went away or came back, or has another key than the others; on the
        // thread that found it; must not block nor throw.
        std::function<void(const TokenSetState&)> changed{};
    };
    // Throws what the first member was refused with when none can be opened. `log` must outlive it.
    TokenSet(std::vector<TokenMember> members, Options options, base::Log& log);

    std::size_t members() const noexcept { return members_.size(); }
    const std::string& name(std::size_t member) const { return members_.name(member); }
    // That it answers, and has no other keys than the others; has those looked at again that it is
    // time to. Throws unavailable, in words for operators.
    void check_member(std::size_t member);
    TokenSetState state() const;
    bool is_open(std::size_t member) const { return members_.token(member) != nullptr; }

    TokenInfo info() const override;
    std::set<KeyKind> supported_kinds() override;
    KeyAttributes generate_key(const KeyId& id, std::string_view label, KeyKind kind,
                               KeyProfile profile) override;
    void make_durable(const KeyId& id) override;
    std::optional<KeyAttributes> find_key(const KeyId& id) override;
    std::vector<KeyId> list_keys(std::size_t* unnamed_objects) override;
    void destroy_key(const KeyId& id) override;
    Encrypted encrypt(const KeyId& id, base::ByteView aad, base::ByteView plaintext) override;
    std::vector<std::optional<Encrypted>> encrypt_many(std::span<const EncryptItem> items) override;
    base::SecretBytes decrypt(const KeyId& id, const Iv& iv, base::ByteView aad,
                              base::ByteView ciphertext) override;
    std::vector<std::optional<base::SecretBytes>> decrypt_many(
        std::span<const DecryptItem> items) override;
    base::Bytes public_key(const KeyId& id) override;
    base::Bytes sign(const KeyId& id, KeyKind kind, base::ByteView message) override;
    bool verify(const KeyId& id, KeyKind kind, base::ByteView message,
                base::ByteView signature) override;
    base::Bytes mac(const KeyId& id, base::ByteView message) override;
    bool verify_mac(const KeyId& id, base::ByteView message, base::ByteView mac) override;
    bool hold_to(const KeyId& id, const KeyEvidence& known) override;
    void random(std::span<std::uint8_t> out) override;
    void check() override;

private:
    using Members = std::bitset<TokenMembers::most>;
    // One call's search for a member.
    struct Search {
        std::size_t turn = 0;  // where it begins among members that are equally good
        Members left_out{};    // they failed it
        // Why the last of them did that could not be asked for a key.
        std::optional<base::Error> trouble{};
    };

    Search begin_search() { return {turn_++, {}, {}}; }
    std::vector<std::size_t> in_turn(const Search& search) const;
    std::vector<std::size_t> well_first() const;
    // The members to ask for a key, the best first; what is due to be looked at is on its way.
    std::vector<std::size_t> candidates(const KeyId& key, KeyUse use, const Search& search);
    void look_later(const KeyId& key, KeyUse use, std::size_t member);
    // Who is used for the key; empty when no member has it. Throws what the member throws that
    // can't be asked and may have it. When none proves itself and one's key fits to no such use,
    // that one: its operation says what is wrong.
    std::optional<std::size_t> find_member(const KeyId& key, KeyUse use, Search& search);

    // Throws what the token throws, and notes it.
    template <typename Work>
    auto ask(std::size_t member, Work&& work);
    // The same; that the member refuses service is noted like an outage.
    template <typename Work>
    auto ask_to_use(std::size_t member, Work&& work);
    template <typename Work>
    auto use(const KeyId& key, KeyUse use, bool is_repeatable, Work&& work);
    // Asks one after the other until one has answered.
    template <typename Work>
    auto use_any(const std::vector<std::size_t>& order, Work&& work);
    template <typename Answer, typename Item, typename Work>
    std::vector<std::optional<Answer>> use_many(std::span<const Item> items, bool is_repeatable,
                                                Work&& work);
    // What is asked of one member: the places of items.
    using Shares = std::map<std::size_t, std::vector<std::size_t>>;
    template <typename Item>
    Shares share_out(std::span<const Item> items, const std::vector<std::size_t>& waiting,
                     Search& search, const std::optional<base::Error>& failure);
    template <typename Item, typename Answer>
    std::vector<std::size_t> without_key(std::size_t member, std::span<const Item> items,
                                         const std::vector<std::optional<Answer>>& answers);
    void require_all(const KeyId& id);
    void tell() const;

    const Options options_;
    std::atomic<std::size_t> turn_{0};
    KeyAgreement agreement_;  // of the members, whose thread uses it until it ends
    TokenMembers members_;
};

// One that is opened by workers of its own, as open_remote_token() says: its module may be the one
// of another, whose settings differ.
struct RemoteMember {
    std::string name;
    WorkerConfig worker;
    base::SecretBytes pin;  // when worker.pin_file is empty
};
// Throws as TokenSet's constructor.
std::unique_ptr<TokenSet> open_token_set(const std::vector<RemoteMember>& members,
                                         TokenSet::Options options, base::Log& log);

}  // namespace hsm
