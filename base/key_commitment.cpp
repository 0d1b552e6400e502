#include "base/key_commitment.h"

#include <botan/exceptn.h>
#include <botan/kdf.h>

#include <algorithm>
#include <string>

#include "base/error.h"

namespace base {
namespace {

constexpr std::string_view commitment_salt = "strongroom sealed credential 2";
constexpr std::string_view commitment_info = "key commitment";

}  // namespace

KeyCommitment commitment_of(const SecretBytes& data_key) {
    try {
        const auto kdf = Botan::KDF::create_or_throw("HKDF(SHA-512)");
        // The form of the call that both Botan 2 and 3 have.
        const Botan::secure_vector<std::uint8_t> key(data_key.expose().begin(),
                                                     data_key.expose().end());
        KeyCommitment commitment{};
        const auto derived = kdf->derive_key(commitment.size(), key, std::string(commitment_salt),
                                             std::string(commitment_info));
        std::copy(derived.begin(), derived.end(), commitment.begin());
        return commitment;
    } catch (const Botan::Exception& error) {
        throw Error(ErrorCode::internal, "a key's commitment can't be made", error.what());
    }
}

}  // namespace base
