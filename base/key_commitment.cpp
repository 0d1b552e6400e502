#include "base/key_commitment.h"

#include <algorithm>
#include <string_view>

#include "base/hkdf.h"

namespace base {
namespace {

constexpr std::string_view commitment_salt = "strongroom sealed credential 2";
constexpr std::string_view commitment_info = "key commitment";

}  // namespace

KeyCommitment commitment_of(const SecretBytes& data_key) {
    KeyCommitment commitment{};
    const SecretBytes derived =
        hkdf_sha_512(data_key, commitment_salt, commitment_info, commitment.size());
    std::copy(derived.expose().begin(), derived.expose().end(), commitment.begin());
    return commitment;
}

}  // namespace base
