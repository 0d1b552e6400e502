// Names that Botan 2 (Debian 12) and Botan 3 (Debian 13) spell differently, and nothing else.
#pragma once

#include <botan/build.h>
#include <botan/pubkey.h>

namespace hsm {

#if BOTAN_VERSION_MAJOR >= 3
inline constexpr auto der_signature = Botan::Signature_Format::DerSequence;
inline constexpr auto plain_signature = Botan::Signature_Format::Standard;
#else
inline constexpr auto der_signature = Botan::DER_SEQUENCE;
inline constexpr auto plain_signature = Botan::IEEE_1363;
#endif

}  // namespace hsm
