// What an encryption context must look like under a key: the check, one function for every
// operation that takes a context. A rule is part of a key (kms/key.h).
#pragma once

#include <string_view>

#include "kms/envelope.h"
#include "kms/key.h"

namespace kms {

// Throws invalid_argument, naming the key of the context that is missing, unknown or has a value
// that the rule forbids, or the size that is passed. Never the value: contexts may be confidential,
// and the caller knows what he sent.
void require_context(const ContextRule& rule, const EncryptionContext& context);

// Whether `text` matches `pattern`, in which '*' stands for any run of bytes, also none, and every
// other byte for itself. Linear in the text for a pattern with one wildcard, and never worse than
// text times pattern.
bool matches_pattern(std::string_view pattern, std::string_view text) noexcept;

}  // namespace kms
