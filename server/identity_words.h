// What the ways of being known have in common: how a credential is refused, which names are sound.
#pragma once

#include <string>
#include <string_view>

namespace server {

// Refuses a credential: throws unauthenticated. The message is the same for every reason, so that
// whoever tries credentials learns nothing; `reason`, one word like "jwt_expired", is the error's
// detail and stands in the audit record.
[[noreturn]] void refuse_credential(std::string_view reason);

// Whether a name can be a caller's, or a claim's value: UTF-8 of 1 to 2,048 bytes without control
// characters. A name that could look like another one in a log or a policy names nobody.
bool is_sound_name(std::string_view name);

// Claims that say how a caller was known. Only the house writes them: neither a token's maker nor
// an issuer can.
bool is_reserved_claim(std::string_view name);

// Whether callers' ids of a method may begin with `prefix`: 2 to 64 of a-z, 0-9, '.', '-', '_' and
// ':', the last one ':'.
bool is_caller_prefix(std::string_view prefix);

}  // namespace server
