// Sealing and opening values over the vault's API, as many as are given in as few calls as they
// take. Behind value_client, and for the vault's own tool; it keeps nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "kms/client/client.h"

namespace vault {

// How deep a value may nest: arrays and objects that are open at once.
inline constexpr std::size_t max_value_depth = 16;
// Whether `value` nests deeper than so many arrays and objects.
bool is_deeper_than(const base::JsonValue& value, std::size_t levels);

// A value and where it belongs. `value` must outlive the call.
struct GivenValue {
    const base::JsonValue* value = nullptr;
    std::string context;
};

// What the vault says of one value, in its own words.
struct SealAnswer {
    base::JsonValue value;  // sealed; a text when a text was given that held a sealed value
    std::string state;      // "sealed", "unchanged" or "rewrapped"
    std::string key_id;
    std::uint32_t key_version = 0;
};
struct OpenAnswer {
    base::JsonValue value;  // what was sealed
    bool sealed = false;    // false: it was plaintext, and the vault let it through
    bool reseal = false;    // sealing it again would put it under a newer master key version
    std::string key_id;     // empty when it was not sealed
    std::uint32_t key_version = 0;
};
using SealResult = std::variant<SealAnswer, base::Error>;
using OpenResult = std::variant<OpenAnswer, base::Error>;

// One result for each, in order. Thread-safe, as the client is. A value that is too large for any
// call, or nests deeper than max_value_depth, is an invalid_argument of its own. Throws as
// kms::Client::call() when a call failed whole: nothing that it gave is lost, since sealing and
// opening leave nothing behind at the vault.
std::vector<SealResult> seal_values(kms::Client& client, std::span<const GivenValue> values);
std::vector<OpenResult> open_values(kms::Client& client, std::span<const GivenValue> values);

}  // namespace vault
