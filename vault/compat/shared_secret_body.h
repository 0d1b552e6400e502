// The bodies that servers which share a secret send, and the part of a credential that one of their
// calls asks for. Fields that these shapes don't know are left alone, as the older services did.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "base/json.h"
#include "base/secret_bytes.h"
#include "server/request.h"

namespace vault::compat {

inline constexpr std::size_t max_credentials_body_bytes = 128UL * 1024;
inline constexpr std::size_t max_selector_body_bytes = 4096;

// No body is one without fields. Throws as vault::read_body.
base::JsonValue read_fields(const server::Request& request, std::size_t max_bytes);

// All of these throw invalid_argument with the message for the client.

// "creatorProfileId", a UUID; in lower case, since two spellings of one must not be two owners.
std::string read_profile(const base::JsonValue& body);
// "credentials", an object that is not sealed yet, as compact JSON.
base::SecretBytes read_credentials(const base::JsonValue& body);
// "platform", a safe name.
std::string read_platform(const base::JsonValue& body);

// `credentials[platform][part]`; null where there is none. Points into `credentials`.
const base::JsonValue* find_part(const base::JsonValue& credentials, std::string_view platform,
                                 std::string_view part);

}  // namespace vault::compat
