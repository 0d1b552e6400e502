// The words of what callers do to keys: in policies, audit records and metrics alike.
#pragma once

#include <string_view>
#include <vector>

#include "server/operation.h"

namespace kms {

inline constexpr server::Action create_key{"create_key"};
inline constexpr server::Action list_keys{"list_keys"};
inline constexpr server::Action describe_key{"describe_key"};
inline constexpr server::Action create_data_key{"create_data_key"};
inline constexpr server::Action unwrap_data_key{"unwrap_data_key"};
inline constexpr server::Action observe{"observe"};

// Every word that a policy for kmsd may use.
inline std::vector<std::string_view> known_actions() {
    return {create_key.word,      list_keys.word,       describe_key.word,
            create_data_key.word, unwrap_data_key.word, observe.word};
}

// The kind of resource that master keys are.
inline constexpr std::string_view key_kind = "key";

}  // namespace kms
