#include "kms/states.h"

#include <string>

#include "base/error.h"

namespace kms {
namespace {

struct StateRow {
    KeyOperation operation;
    std::string_view word;
    std::array<Permission, key_states.size()> cells;  // in the order of KeyState
};

namespace cells {
constexpr Permission no = Permission::no;
constexpr Permission yes = Permission::yes;
constexpr Permission right = Permission::with_right;

// clang-format off
constexpr std::array table = {
    //                                                                 pending enabled disabled pending_deletion destroyed compromised
    StateRow{KeyOperation::describe,          "describe",             {yes,    yes,    yes,     yes,             yes,      yes}},
    StateRow{KeyOperation::wrap,              "wrap",                 {no,     yes,    no,      no,              no,       no}},
    StateRow{KeyOperation::unwrap,            "unwrap",               {no,     yes,    no,      no,              no,       right}},
    StateRow{KeyOperation::rewrap_from,       "rewrap_from",          {no,     yes,    no,      no,              no,       right}},
    StateRow{KeyOperation::rewrap_to,         "rewrap_to",            {no,     yes,    no,      no,              no,       no}},
    StateRow{KeyOperation::encrypt,           "encrypt",              {no,     yes,    no,      no,              no,       no}},
    StateRow{KeyOperation::decrypt,           "decrypt",              {no,     yes,    no,      no,              no,       right}},
    StateRow{KeyOperation::sign,              "sign",                 {no,     yes,    no,      no,              no,       no}},
    StateRow{KeyOperation::verify,            "verify",               {no,     yes,    no,      no,              no,       right}},
    StateRow{KeyOperation::public_key,        "public_key",           {no,     yes,    no,      no,              no,       right}},
    StateRow{KeyOperation::mac,               "mac",                  {no,     yes,    no,      no,              no,       no}},
    StateRow{KeyOperation::verify_mac,        "verify_mac",           {no,     yes,    no,      no,              no,       right}},
    StateRow{KeyOperation::rotate,            "rotate",               {no,     yes,    no,      no,              no,       no}},
    StateRow{KeyOperation::change,            "change",               {no,     yes,    yes,     no,              no,       yes}},
    StateRow{KeyOperation::add_alias,         "add_alias",            {no,     yes,    yes,     no,              no,       no}},
    StateRow{KeyOperation::enable,            "enable",               {no,     yes,    yes,     no,              no,       no}},
    StateRow{KeyOperation::disable,           "disable",              {no,     yes,    yes,     no,              no,       no}},
    StateRow{KeyOperation::schedule_deletion, "schedule_deletion",    {no,     yes,    yes,     no,              no,       yes}},
    StateRow{KeyOperation::cancel_deletion,   "cancel_deletion",      {no,     no,     no,      yes,             no,       no}},
    StateRow{KeyOperation::mark_compromised,  "mark_compromised",     {no,     yes,    yes,     yes,             no,       yes}},
};
// clang-format on
}  // namespace cells

constexpr const auto& state_table = cells::table;

constexpr bool in_order() {
    for (std::size_t i = 0; i < key_states.size(); ++i) {
        if (static_cast<std::size_t>(key_states[i]) != i) return false;
    }
    for (std::size_t i = 0; i < state_table.size(); ++i) {
        if (static_cast<std::size_t>(state_table[i].operation) != i) return false;
        if (key_operations[i] != state_table[i].operation) return false;
    }
    return state_table.size() == key_operations.size();
}
static_assert(in_order(), "the table is indexed by the enumerators");

// "enabled", "enabled or disabled", "enabled, disabled or compromised".
std::string permitting_states(KeyOperation operation) {
    std::vector<std::string_view> words;
    for (const KeyState state : key_states) {
        if (permits(state, operation)) words.push_back(to_string(state));
    }
    std::string list;
    for (std::size_t i = 0; i < words.size(); ++i) {
        if (i > 0) list += i + 1 == words.size() ? " or " : ", ";
        list += words[i];
    }
    return list;
}

[[noreturn]] void refuse_state(KeyState state, KeyOperation operation) {
    const bool needs_right = permission(state, operation) == Permission::with_right;
    base::refuse("the key is in state " + std::string(to_string(state)) + ", which forbids " +
                 std::string(to_string(operation)) + "; it is permitted in state " +
                 permitting_states(operation) +
                 (needs_right ? ", or with the right use_compromised_key" : ""));
}

}  // namespace

std::string_view to_string(KeyOperation operation) noexcept {
    return state_table[static_cast<std::size_t>(operation)].word;
}

Permission permission(KeyState state, KeyOperation operation) noexcept {
    return state_table[static_cast<std::size_t>(operation)].cells[static_cast<std::size_t>(state)];
}

bool permits(KeyState state, KeyOperation operation, bool may_use_compromised) noexcept {
    const Permission cell = permission(state, operation);
    return cell == Permission::yes || (cell == Permission::with_right && may_use_compromised);
}

void require_permitted(const Key& key, KeyOperation operation, bool may_use_compromised) {
    if (permits(key.state, operation, may_use_compromised)) return;
    refuse_state(key.state, operation);
}

void require_permitted(const Key& key, const KeyVersion& version, KeyOperation operation,
                       bool may_use_compromised) {
    require_permitted(key, operation, may_use_compromised);
    if (version.state == KeyState::enabled) return;
    base::refuse("version " + std::to_string(version.version) + " of the key is in state " +
                 std::string(to_string(version.state)) + ", which forbids " +
                 std::string(to_string(operation)) +
                 "; it is permitted for a version in state enabled");
}

}  // namespace kms
