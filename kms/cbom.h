// Master keys as a cryptography bill of materials: CycloneDX 1.6 JSON (ECMA-424), for whoever keeps
// account of cryptography in a house. No key material: public keys only.
#pragma once

#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/json.h"
#include "base/uuid.h"

namespace kms {

struct CbomSubject {
    std::string service;  // its URL; empty when it is not known
    std::string tool_version;
    base::Time at{};
    base::Uuid serial;  // of this document
};

// `keys`: descriptions as GET /v1/keys/{key} answers them. Throws internal when one is none.
//
// One component for each algorithm in use, and for each version of each key one for the secret or
// private key and, of a pair, one for the public key. States in the words of NIST SP 800-57: a
// version that only opens or verifies is "deactivated".
base::WipedString write_cbom(const CbomSubject& subject, const base::JsonValue::Array& keys);

}  // namespace kms
