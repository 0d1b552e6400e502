// The cursors of the vault's lists: the text of a place, and the place of a text. One text for each
// place, so what was not made here is refused as far as it can be told.
#pragma once

#include <cstdint>
#include <string>

#include "vault/record.h"
#include "vault/rewrap_job.h"

namespace vault {

// Each of these refuses as refuse_cursor() (vault/credential_answers.h): throws invalid_argument.

// "<milliseconds since 1970>/<owner>/<name>" of the last one of a page by expiry, as ExpiryPlace
// says it. `owner`: whose list it is, empty for all owners.
std::string to_cursor(const ExpiryPlace& last);
ExpiryPlace parse_expiry_cursor(const std::string& text, const std::string& owner);

// A number from 1 to `most`, as std::to_string has it; 0 for an empty text, which is the beginning.
std::uint64_t parse_number_cursor(const std::string& text, std::uint64_t most);

// "<credential>-<version>"; an empty text is the beginning.
std::string to_cursor(const RewrapPlace& next);
RewrapPlace parse_rewrap_cursor(const std::string& text);

}  // namespace vault
