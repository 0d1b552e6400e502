#include "hsm/token_set.h"

#include <algorithm>
#include <numeric>
#include <unordered_map>
#include <unordered_set>

#include "base/error.h"

namespace hsm {
namespace {

constexpr bool repeatable = true;
constexpr bool counted = false;  // by the caller: never done twice
constexpr std::size_t looks_of_a_check = 16;

bool is_unavailable(const base::Error& error) {
    return error.code() == base::ErrorCode::unavailable;
}

// The member can't do it now, which says nothing of what others can. Beside an outage that is what
// only an operator ends (a self-test that failed, an expired PIN): no use of a key is refused as
// failed_precondition for the key or the request.
bool is_members_own(const base::Error& error) {
    return is_unavailable(error) || error.code() == base::ErrorCode::failed_precondition;
}

[[noreturn]] void in_no_token(const KeyId& key) {
    throw base::Error(base::ErrorCode::not_found, "no such key in any of the tokens",
                      "CKA_ID " + key.to_string());
}

}  // namespace

TokenSet::TokenSet(std::vector<TokenMember> members, Options options, base::Log& log)
    : options_(std::move(options)),
      agreement_(members_, options_.pauses, log, [this] { tell(); }),
      members_(std::move(members), options_.pauses, {options_.logged_in_again, [this] { tell(); }},
               log) {
    tell();
}

template <typename Work>
auto TokenSet::ask(std::size_t member, Work&& work) {
    const std::uint64_t troubles = members_.troubles(member);
    try {
        auto answer = work(*members_.token(member));
        members_.note_answer(member, troubles);
        return answer;
    } catch (const base::Error& error) {
        if (is_unavailable(error)) {
            members_.note_trouble(member, error);
        } else if (!is_members_own(error)) {
            members_.note_answer(member, troubles);
        }
        throw;
    }
}

template <typename Work>
auto TokenSet::ask_to_use(std::size_t member, Work&& work) {
    try {
        return ask(member, work);
    } catch (const base::Error& error) {
        if (!is_unavailable(error) && is_members_own(error)) members_.note_trouble(member, error);
        throw;
    }
}

std::vector<std::size_t> TokenSet::in_turn(const Search& search) const {
    std::vector<std::size_t> order;
    for (std::size_t i = 0; i < members_.size(); ++i) {
        const std::size_t member = (search.turn + i) % members_.size();
        if (!search.left_out[member] && members_.token(member) != nullptr) order.push_back(member);
    }
    return order;
}

std::vector<std::size_t> TokenSet::well_first() const {
    std::vector<std::size_t> order = in_turn({});
    std::stable_partition(order.begin(), order.end(),
                          [this](std::size_t member) { return members_.is_well(member); });
    return order;
}

std::vector<std::size_t> TokenSet::candidates(const KeyId& key, KeyUse use, const Search& search) {
    std::vector<std::size_t> proven;
    std::vector<std::size_t> proven_but_away;
    for (const std::size_t member : in_turn(search)) {
        if (agreement_.standing(key, member) != Standing::proven) continue;
        (members_.is_well(member) ? proven : proven_but_away).push_back(member);
    }
    const auto append = [](std::vector<std::size_t>& to, const std::vector<std::size_t>& more) {
        to.insert(to.end(), more.begin(), more.end());
    };
    const bool is_nobody_proven = proven.empty() && proven_but_away.empty();
    // The others in the order of the list, so that the first of it sets what a key must be.
    std::vector<std::size_t> order;
    std::vector<std::size_t> away;
    std::vector<std::size_t> looked_at_lately;
    for (const std::size_t member : in_turn({0, search.left_out, {}})) {
        const Standing standing = agreement_.standing(key, member);
        if (standing == Standing::proven) continue;
        if (!members_.is_well(member)) {
            // One that had none may have it now: only who answers can say that there is none.
            const bool is_asked =
                standing == Standing::unknown || (standing == Standing::absent && is_nobody_proven);
            if (is_asked) away.push_back(member);
        } else if (!proven.empty()) {
            // Nobody waits for a proof while others serve.
            if (agreement_.take_look(key, member)) look_later(key, use, member);
        } else if (standing == Standing::unknown || agreement_.take_look(key, member)) {
            order.push_back(member);
        } else if (standing == Standing::absent) {
            looked_at_lately.push_back(member);
        }
    }
    if (!proven.empty()) order = std::move(proven);
    append(order, proven_but_away);
    append(order, away);
    return order.empty() ? looked_at_lately : order;
}

void TokenSet::look_later(const KeyId& key, KeyUse use, std::size_t member) {
    members_.post([this, key, use, member] {
        // Many may have been posted before it went away, each of which would wait for a deadline.
        if (!members_.is_well(member)) return;
        static_cast<void>(ask_to_use(
            member, [&](Token& token) { return agreement_.prove(key, use, member, token); }));
    });
}

std::optional<std::size_t> TokenSet::find_member(const KeyId& key, KeyUse use, Search& search) {
    std::optional<std::size_t> unfit;
    for (const std::size_t member : candidates(key, use, search)) {
        if (agreement_.standing(key, member) == Standing::proven) return member;
        try {
            const Standing standing = ask_to_use(
                member, [&](Token& token) { return agreement_.prove(key, use, member, token); });
            if (standing == Standing::proven) return member;
            if (standing == Standing::unknown && !unfit) unfit = member;
        } catch (const base::Error& error) {
            if (!is_members_own(error)) throw;
            search.left_out.set(member);
            search.trouble.emplace(error);
        }
    }
    // Who was left out may have it, also when that was for another key.
    if (search.trouble) throw base::Error(*search.trouble);
    // Who can't be asked may have it.
    for (std::size_t member = 0; member < members_.size(); ++member) {
        if (search.left_out[member]) continue;
        if (members_.token(member) == nullptr) members_.refuse_closed(member);
        if (agreement_.standing(key, member) == Standing::different) {
            throw base::Error(base::ErrorCode::unavailable,
                              "a token has another key under the same id",
                              name(member) + ", CKA_ID " + key.to_string());
        }
    }
    return unfit;
}

template <typename Work>
auto TokenSet::use(const KeyId& key, KeyUse use, bool is_repeatable, Work&& work) {
    Search search = begin_search();
    std::optional<base::Error> failure;
    for (;;) {
        std::optional<std::size_t> member;
        try {
            member = find_member(key, use, search);
        } catch (const base::Error& error) {
            if (failure && is_members_own(error)) throw base::Error(*failure);
            throw;
        }
        if (!member && failure) throw base::Error(*failure);
        if (!member) in_no_token(key);
        try {
            return ask_to_use(*member, work);
        } catch (const base::Error& error) {
            search.left_out.set(*member);
            if (error.code() == base::ErrorCode::not_found) {
                agreement_.note_absent(key, *member);
                continue;
            }
            if (!is_members_own(error)) throw;
            agreement_.note_trouble(key, *member);
            if (!is_repeatable || failure) throw;
            failure.emplace(error);
        }
    }
}

template <typename Work>
auto TokenSet::use_any(const std::vector<std::size_t>& order, Work&& work) {
    for (std::size_t i = 0;; ++i) {
        try {
            return ask_to_use(order.at(i), work);
        } catch (const base::Error& error) {
            if (!is_members_own(error) || i + 1 == order.size()) throw;
        }
    }
}

// Which items have no answer because the member has not the key that the others have.
template <typename Item, typename Answer>
std::vector<std::size_t> TokenSet::without_key(std::size_t member, std::span<const Item> items,
                                               const std::vector<std::optional<Answer>>& answers) {
    std::unordered_map<KeyId, bool> is_without;
    std::vector<std::size_t> found;
    for (std::size_t i = 0; i < items.size(); ++i) {
        if (answers[i]) continue;
        const KeyId& key = items[i].key;
        const auto [known, is_new] = is_without.try_emplace(key, false);
        if (is_new) {
            const Standing standing = ask_to_use(
                member, [&](Token& token) { return agreement_.prove_again(key, member, token); });
            known->second = standing == Standing::absent || standing == Standing::different;
        }
        if (known->second) found.push_back(i);
    }
    return found;
}

// The places of the items by the member that is asked; those of keys that nobody has are in none.
template <typename Item>
TokenSet::Shares TokenSet::share_out(std::span<const Item> items,
                                     const std::vector<std::size_t>& waiting, Search& search,
                                     const std::optional<base::Error>& failure) {
    Shares shares;
    std::unordered_map<KeyId, std::optional<std::size_t>> member_of;
    for (const std::size_t place : waiting) {
        const auto [found, is_new] = member_of.try_emplace(items[place].key);
        if (is_new) {
            try {
                found->second = find_member(items[place].key, KeyUse::encrypts, search);
            } catch (const base::Error& error) {
                if (failure && is_members_own(error)) throw base::Error(*failure);
                throw;
            }
            if (!found->second && failure) throw base::Error(*failure);
        }
        if (found->second) shares[*found->second].push_back(place);
    }
    return shares;
}

template <typename Answer, typename Item, typename Work>
std::vector<std::optional<Answer>> TokenSet::use_many(std::span<const Item> items,
                                                      bool is_repeatable, Work&& work) {
    std::vector<std::optional<Answer>> answers(items.size());
    std::vector<std::size_t> waiting(items.size());
    std::iota(waiting.begin(), waiting.end(), std::size_t{0});
    Search search = begin_search();
    std::optional<base::Error> failure;
    while (!waiting.empty()) {
        const auto shares = share_out(items, waiting, search, failure);
        std::optional<base::Error> new_failure;
        waiting.clear();
        for (const auto& [member, places] : shares) {
            std::vector<Item> share;
            for (const std::size_t place : places) share.push_back(items[place]);
            try {
                auto made = ask_to_use(member, [&](Token& token) { return work(token, share); });
                for (const std::size_t i : without_key<Item>(member, share, made))
                    waiting.push_back(places[i]);
                for (std::size_t i = 0; i < made.size(); ++i)
                    answers[places[i]] = std::move(made[i]);
            } catch (const base::Error& error) {
                if (!is_members_own(error)) throw;
                for (const Item& item : share) agreement_.note_trouble(item.key, member);
                if (!is_repeatable || failure) throw;
                search.left_out.set(member);
                new_failure.emplace(error);
                waiting.insert(waiting.end(), places.begin(), places.end());
            }
        }
        if (new_failure) failure.emplace(*new_failure);
    }
    return answers;
}

void TokenSet::check_member(std::size_t member) {
    if (members_.token(member) == nullptr) members_.refuse_closed(member);
    ask(member, [](Token& token) { return token.check(), true; });
    const std::size_t different = agreement_.different_keys(member);
    if (different == 0) return;
    for (const auto& [key, use] : agreement_.take_looks(member, looks_of_a_check))
        look_later(key, use, member);
    throw base::Error(base::ErrorCode::unavailable,
                      "keys under whose ids this token has others than the other tokens: " +
                          std::to_string(different));
}

TokenSetState TokenSet::state() const {
    TokenSetState state;
    state.members = members_.size();
    for (std::size_t member = 0; member < members_.size(); ++member) {
        state.well += members_.is_well(member) ? 1U : 0U;
        state.different_keys += agreement_.different_keys(member);
    }
    return state;
}

void TokenSet::tell() const {
    if (options_.changed) options_.changed(state());
}

TokenInfo TokenSet::info() const { return members_.token(in_turn({}).front())->info(); }

std::set<KeyKind> TokenSet::supported_kinds() {
    return use_any(well_first(), [](Token& token) { return token.supported_kinds(); });
}

KeyAttributes TokenSet::generate_key(const KeyId& id, std::string_view label, KeyKind kind,
                                     KeyProfile profile) {
    if (members_.token(0) == nullptr) members_.refuse_closed(0);
    for (std::size_t member = 1; member < members_.size(); ++member) {
        if (!members_.is_well(member)) continue;  // ids are random
        const auto found = ask(member, [&](Token& token) { return token.find_key(id); });
        if (found) {
            throw base::Error(base::ErrorCode::already_exists, "a token has a key of that id",
                              name(member) + ", CKA_ID " + id.to_string());
        }
    }
    KeyAttributes made =
        ask(0, [&](Token& token) { return token.generate_key(id, label, kind, profile); });
    agreement_.forget(id);
    return made;
}

void TokenSet::make_durable(const KeyId& id) {
    for (const std::size_t member : in_turn({})) {
        try {
            ask(member, [&](Token& token) { return token.make_durable(id), true; });
            return;
        } catch (const base::Error& error) {
            if (error.code() != base::ErrorCode::not_found) throw;
        }
    }
    for (std::size_t member = 0; member < members_.size(); ++member) {
        if (members_.token(member) == nullptr) members_.refuse_closed(member);
    }
    in_no_token(id);
}

std::optional<KeyAttributes> TokenSet::find_key(const KeyId& id) {
    std::optional<base::Error> trouble;
    for (const std::size_t member : well_first()) {
        try {
            auto found = ask(member, [&](Token& token) { return token.find_key(id); });
            if (found) return found;
        } catch (const base::Error& error) {
            if (!is_unavailable(error)) throw;
            trouble.emplace(error);
        }
    }
    if (trouble) throw base::Error(*trouble);
    for (std::size_t member = 0; member < members_.size(); ++member) {
        if (members_.token(member) == nullptr) members_.refuse_closed(member);
    }
    return std::nullopt;
}

std::vector<KeyId> TokenSet::list_keys(std::size_t* unnamed_objects) {
    std::unordered_set<KeyId> listed;
    std::size_t unnamed = 0;
    std::size_t answered = 0;
    std::optional<base::Error> trouble;
    for (const std::size_t member : well_first()) {
        try {
            std::size_t here = 0;
            const auto ids = ask(member, [&](Token& token) { return token.list_keys(&here); });
            listed.insert(ids.begin(), ids.end());
            unnamed = std::max(unnamed, here);
            ++answered;
        } catch (const base::Error& error) {
            if (!is_unavailable(error)) throw;
            trouble.emplace(error);
        }
    }
    if (answered == 0 && trouble) throw base::Error(*trouble);
    if (unnamed_objects != nullptr) *unnamed_objects = unnamed;
    return {listed.begin(), listed.end()};
}

// That each of them can be asked, and none has another key under the id.
void TokenSet::require_all(const KeyId& id) {
    for (std::size_t member = 0; member < members_.size(); ++member) {
        if (members_.token(member) == nullptr) members_.refuse_closed(member);
        const Standing standing = ask(member, [&](Token& token) {
            token.check();
            return agreement_.prove_again(id, member, token);
        });
        if (standing == Standing::different) {
            base::refuse("a token has another key under the id of one that is to be destroyed",
                         name(member) + ", CKA_ID " + id.to_string());
        }
    }
}

void TokenSet::destroy_key(const KeyId& id) {
    require_all(id);
    bool was_there = false;
    for (std::size_t member = members_.size(); member-- > 0;) {
        try {
            ask(member, [&](Token& token) { return token.destroy_key(id), true; });
            was_there = true;
        } catch (const base::Error& error) {
            if (error.code() != base::ErrorCode::not_found) throw;
        }
        agreement_.note_absent(id, member);
    }
    agreement_.forget(id);
    if (!was_there) in_no_token(id);
}

Encrypted TokenSet::encrypt(const KeyId& id, base::ByteView aad, base::ByteView plaintext) {
    return use(id, KeyUse::encrypts, counted,
               [&](Token& token) { return token.encrypt(id, aad, plaintext); });
}

std::vector<std::optional<Encrypted>> TokenSet::encrypt_many(std::span<const EncryptItem> items) {
    return use_many<Encrypted>(
        items, counted, [](Token& token, const auto& some) { return token.encrypt_many(some); });
}

base::SecretBytes TokenSet::decrypt(const KeyId& id, const Iv& iv, base::ByteView aad,
                                    base::ByteView ciphertext) {
    return use(id, KeyUse::encrypts, repeatable,
               [&](Token& token) { return token.decrypt(id, iv, aad, ciphertext); });
}

std::vector<std::optional<base::SecretBytes>> TokenSet::decrypt_many(
    std::span<const DecryptItem> items) {
    return use_many<base::SecretBytes>(
        items, repeatable, [](Token& token, const auto& some) { return token.decrypt_many(some); });
}

base::Bytes TokenSet::public_key(const KeyId& id) {
    return use(id, KeyUse::is_pair, repeatable, [&](Token& token) { return token.public_key(id); });
}

base::Bytes TokenSet::sign(const KeyId& id, KeyKind kind, base::ByteView message) {
    return use(id, KeyUse::is_pair, repeatable,
               [&](Token& token) { return token.sign(id, kind, message); });
}

bool TokenSet::verify(const KeyId& id, KeyKind kind, base::ByteView message,
                      base::ByteView signature) {
    return use(id, KeyUse::is_pair, repeatable,
               [&](Token& token) { return token.verify(id, kind, message, signature); });
}

base::Bytes TokenSet::mac(const KeyId& id, base::ByteView message) {
    return use(id, KeyUse::makes_macs, repeatable,
               [&](Token& token) { return token.mac(id, message); });
}

bool TokenSet::verify_mac(const KeyId& id, base::ByteView message, base::ByteView mac) {
    return use(id, KeyUse::makes_macs, repeatable,
               [&](Token& token) { return token.verify_mac(id, message, mac); });
}

bool TokenSet::hold_to(const KeyId& id, const KeyEvidence& known) {
    agreement_.hold_to(id, known);
    bool is_different = false;
    std::optional<base::Error> trouble;
    for (const std::size_t member : well_first()) {
        try {
            const Standing standing = ask(member, [&](Token& token) {
                return agreement_.prove(id, known.use, member, token);
            });
            if (standing == Standing::proven) return true;
            is_different = is_different || standing == Standing::different;
        } catch (const base::Error& error) {
            if (!is_members_own(error)) throw;
            trouble.emplace(error);
        }
    }
    if (trouble) throw base::Error(*trouble);
    if (!is_different) in_no_token(id);
    return false;
}

void TokenSet::random(std::span<std::uint8_t> out) {
    std::vector<std::size_t> order = in_turn(begin_search());
    std::stable_partition(order.begin(), order.end(),
                          [this](std::size_t member) { return members_.is_well(member); });
    use_any(order, [&](Token& token) { return token.random(out), true; });
}

void TokenSet::check() {
    use_any(well_first(), [](Token& token) { return token.check(), true; });
}

}  // namespace hsm
