// PKCS#11 URIs (RFC 7512) that name a token. Parsed by p11-kit; slots by number and PINs are
// refused.
#pragma once

#include <memory>
#include <string>

#include "hsm/pkcs11_api.h"

namespace hsm {

class TokenUri {
public:
    // Throws failed_precondition, saying what is wrong: not a PKCS#11 URI, no token or serial in
    // it, a PIN in it (it would end up in logs and process lists), a slot number (they change).
    explicit TokenUri(const std::string& text);

    bool matches(const CK_TOKEN_INFO& token) const;
    // By label and serial alone, for a token that is seen only as a file. Empty fields of the URI
    // match anything.
    bool matches(std::string_view label, std::string_view serial) const;

    const std::string& text() const { return text_; }

private:
    std::string text_;
    std::shared_ptr<void> uri_;  // P11KitUri
};

}  // namespace hsm
