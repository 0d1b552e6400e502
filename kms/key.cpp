#include "kms/key.h"

#include <algorithm>
#include <array>

#include "base/error.h"

namespace kms {

std::string_view to_string(KeyUse use) noexcept {
    switch (use) {
        case KeyUse::encrypt:
            return "encrypt";
        case KeyUse::sign:
            return "sign";
        case KeyUse::mac:
            return "mac";
    }
    return "encrypt";
}

KeyUse use_of(hsm::KeyKind kind) noexcept {
    if (hsm::is_pair(kind)) return KeyUse::sign;
    return kind == hsm::KeyKind::hmac_sha_256 ? KeyUse::mac : KeyUse::encrypt;
}

std::string_view to_string(KeyState state) noexcept {
    switch (state) {
        case KeyState::pending:
            return "pending";
        case KeyState::enabled:
            return "enabled";
        case KeyState::disabled:
            return "disabled";
        case KeyState::pending_deletion:
            return "pending_deletion";
        case KeyState::destroyed:
            return "destroyed";
        case KeyState::compromised:
            return "compromised";
    }
    return "destroyed";
}

std::optional<KeyState> parse_key_state(std::string_view text) noexcept {
    constexpr std::array states = {KeyState::pending,   KeyState::enabled,
                                   KeyState::disabled,  KeyState::pending_deletion,
                                   KeyState::destroyed, KeyState::compromised};
    const auto found = std::find_if(states.begin(), states.end(),
                                    [&](KeyState state) { return to_string(state) == text; });
    if (found == states.end()) return std::nullopt;
    return *found;
}

const KeyVersion* Key::find_version(std::uint32_t version) const {
    if (version == 0 || version > versions.size()) return nullptr;
    return &versions[version - 1];
}

const KeyVersion& Key::primary() const {
    const KeyVersion* version = find_version(primary_version);
    if (version == nullptr) {
        throw base::Error(base::ErrorCode::internal, "the key has no primary version",
                          "key " + id.to_string());
    }
    return *version;
}

bool is_alias(std::string_view name) noexcept {
    if (name.empty() || name.size() > 64) return false;
    if (name.front() == '-' || name.front() == '_' || name.front() == '.') return false;
    return name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-_.") ==
           std::string_view::npos;
}

}  // namespace kms
