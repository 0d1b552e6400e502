#include "tests/support/openssl_verify.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include <array>
#include <memory>

namespace tests {
namespace {

struct FreeKey {
    void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
};
struct FreeContext {
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};
using PublicKey = std::unique_ptr<EVP_PKEY, FreeKey>;

PublicKey load_public_key(base::ByteView public_key) {
    const unsigned char* at = public_key.data();
    PublicKey key(d2i_PUBKEY(nullptr, &at, static_cast<long>(public_key.size())));
    if (key && at != public_key.data() + public_key.size()) return nullptr;
    return key;
}

const EVP_MD* hash_of(OpensslScheme scheme) {
    switch (scheme) {
        case OpensslScheme::ecdsa_sha256:
        case OpensslScheme::rsa_pss_sha256:
            return EVP_sha256();
        case OpensslScheme::ecdsa_sha384:
            return EVP_sha384();
        case OpensslScheme::ed25519:
            break;
    }
    return nullptr;
}

}  // namespace

bool openssl_verifies(OpensslScheme scheme, base::ByteView public_key, base::ByteView message,
                      base::ByteView signature) {
    const PublicKey key = load_public_key(public_key);
    const std::unique_ptr<EVP_MD_CTX, FreeContext> context(EVP_MD_CTX_new());
    EVP_PKEY_CTX* parameters = nullptr;
    if (!key ||
        EVP_DigestVerifyInit(context.get(), &parameters, hash_of(scheme), nullptr, key.get()) != 1)
        return false;
    if (scheme == OpensslScheme::rsa_pss_sha256 &&
        (EVP_PKEY_CTX_set_rsa_padding(parameters, RSA_PKCS1_PSS_PADDING) != 1 ||
         EVP_PKEY_CTX_set_rsa_pss_saltlen(parameters, 32) != 1 ||
         EVP_PKEY_CTX_set_rsa_mgf1_md(parameters, EVP_sha256()) != 1))
        return false;
    return EVP_DigestVerify(context.get(), signature.data(), signature.size(), message.data(),
                            message.size()) == 1;
}

std::string openssl_key_name(base::ByteView public_key) {
    const PublicKey key = load_public_key(public_key);
    if (!key) return {};
    std::string name = EVP_PKEY_get0_type_name(key.get());
    if (name == "RSA") return name + "/" + std::to_string(EVP_PKEY_get_bits(key.get()));
    std::array<char, 64> group{};
    std::size_t size = 0;
    if (EVP_PKEY_get_utf8_string_param(key.get(), OSSL_PKEY_PARAM_GROUP_NAME, group.data(),
                                       group.size(), &size) == 1)
        name += "/" + std::string(group.data(), size);
    return name;
}

base::Bytes openssl_hmac_sha256(base::ByteView key, base::ByteView message) {
    base::Bytes mac(EVP_MAX_MD_SIZE);
    unsigned size = 0;
    HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), message.data(), message.size(),
         mac.data(), &size);
    mac.resize(size);
    return mac;
}

}  // namespace tests
