// Reads SoftHSM 2's object files far enough to tell a whole one from a torn one, and a token's
// label and serial. No secret is in what is returned.
//
//    8  generation, big endian
//       then for each attribute:
//    8  type   0x80005349 token label, 0x8000534a serial, 4b flags, 4c SO PIN blob, 4d user PIN
//    blob 8  kind   1 boolean (1 byte), 2 number (8 bytes), 3 bytes (8-byte length, then as many
//    bytes) n  value
#pragma once

#include <optional>
#include <string>

#include "base/bytes.h"

namespace hsm {

struct SoftHsmTokenObject {
    std::string label;
    std::string serial;
};

// Empty when the file ends early, has something else in it, or lacks an attribute that a token with
// both PINs set has.
std::optional<SoftHsmTokenObject> parse_softhsm_token_object(base::ByteView file);

}  // namespace hsm
