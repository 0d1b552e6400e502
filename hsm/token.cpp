#include "hsm/token.h"

namespace hsm {

std::string_view to_string(KeyProfile profile) noexcept {
    switch (profile) {
        case KeyProfile::sealed:
            return "sealed";
        case KeyProfile::restorable:
            return "restorable";
    }
    return "sealed";
}

std::optional<KeyProfile> parse_key_profile(std::string_view text) noexcept {
    for (const KeyProfile profile : {KeyProfile::sealed, KeyProfile::restorable}) {
        if (text == to_string(profile)) return profile;
    }
    return std::nullopt;
}

}  // namespace hsm
