#include "hsm/pkcs11_uri.h"

// p11-kit's header uses the CK names that pkcs11.h, included above, defines.
#include <p11-kit/uri.h>

#include <algorithm>

#include "base/error.h"

namespace hsm {
namespace {

[[noreturn]] void refuse_uri(const std::string& why) {
    throw base::Error(base::ErrorCode::failed_precondition, "token URI: " + why);
}

P11KitUri* get(const std::shared_ptr<void>& uri) { return static_cast<P11KitUri*>(uri.get()); }

// p11-kit leaves a field that the URI does not name all zero.
template <std::size_t size>
bool field_matches(const unsigned char (&field)[size], std::string_view value) {
    if (field[0] == 0) return true;
    return trim_padding(field) == value;
}

}  // namespace

TokenUri::TokenUri(const std::string& text)
    : text_(text),
      uri_(p11_kit_uri_new(), [](void* uri) { p11_kit_uri_free(static_cast<P11KitUri*>(uri)); }) {
    // Looked for before anything else, so that no later message can repeat a PIN.
    if (text.find("pin-value") != std::string::npos ||
        text.find("pin-source") != std::string::npos) {
        text_.clear();
        refuse_uri(
            "it must not hold pin-value or pin-source; name the PIN's file in the configuration");
    }
    const int code = p11_kit_uri_parse(text.c_str(), P11_KIT_URI_FOR_ANY, get(uri_));
    if (code != P11_KIT_URI_OK) {
        refuse_uri(std::string("can't be read (") + p11_kit_uri_message(code) +
                   "); it looks like pkcs11:token=<label>;serial=<serial>");
    }
    if (p11_kit_uri_get_pin_value(get(uri_)) != nullptr ||
        p11_kit_uri_get_pin_source(get(uri_)) != nullptr) {
        text_.clear();
        refuse_uri("it must not hold a PIN");
    }
    if (p11_kit_uri_any_unrecognized(get(uri_)) != 0)
        refuse_uri("it has a part that is not in RFC 7512");
    if (p11_kit_uri_get_slot_id(get(uri_)) != unavailable_information) {
        refuse_uri("slot numbers change between starts; use token=<label> and serial=<serial>");
    }
    const CK_TOKEN_INFO* token = p11_kit_uri_get_token_info(get(uri_));
    if (token->label[0] == 0 && token->serialNumber[0] == 0)
        refuse_uri("it names neither token=<label> nor serial=<serial>");
}

bool TokenUri::matches(const CK_TOKEN_INFO& token) const {
    return p11_kit_uri_match_token_info(get(uri_), &token) != 0;
}

bool TokenUri::matches(std::string_view label, std::string_view serial) const {
    const CK_TOKEN_INFO* token = p11_kit_uri_get_token_info(get(uri_));
    return field_matches(token->label, label) && field_matches(token->serialNumber, serial);
}

}  // namespace hsm
