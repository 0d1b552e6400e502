// The only door to PKCS#11 (OASIS PKCS#11 2.40) types; included by hsm/pkcs11_* and by .cpp files
// of this folder and its tests, never by a header that other floors see.
#pragma once

#include <p11-kit/pkcs11.h>

#include <limits>

#include "base/bytes.h"

namespace hsm {

inline constexpr CK_ULONG unavailable_information = std::numeric_limits<CK_ULONG>::max();

inline CK_ULONG to_ck_ulong(std::size_t size) {
    static_assert(sizeof(CK_ULONG) >= sizeof(std::size_t));
    return static_cast<CK_ULONG>(size);
}

// The standard's input pointers are not const, though modules only read them. Empty data gets an
// address too: SoftHSM answers a null pointer with CKR_ARGUMENTS_BAD and keeps the operation
// active.
inline CK_BYTE_PTR to_ck_bytes(base::ByteView bytes) {
    static CK_BYTE nothing = 0;
    return bytes.empty() ? &nothing : const_cast<CK_BYTE_PTR>(bytes.data());
}

// Fixed-width text fields of PKCS#11 are padded with blanks (some modules: zeros) and not
// terminated.
template <std::size_t size>
std::string_view trim_padding(const unsigned char (&field)[size]) {
    std::string_view text = base::as_text({field, size});
    if (const auto zero = text.find('\0'); zero != std::string_view::npos)
        text = text.substr(0, zero);
    const auto last = text.find_last_not_of(' ');
    return last == std::string_view::npos ? std::string_view() : text.substr(0, last + 1);
}

}  // namespace hsm
