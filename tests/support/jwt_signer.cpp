#include "tests/support/jwt_signer.h"

#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include <array>
#include <stdexcept>

#include "base/encoding.h"

namespace tests {
namespace {

using server::JwtAlgorithm;

void require_crypto(bool fine, const char* what) {
    if (!fine) throw std::runtime_error(std::string("JWT signer: ") + what);
}

std::string part(std::string_view text) { return base::to_base64url(base::as_bytes(text)); }

EVP_PKEY* make_key(JwtAlgorithm algorithm) {
    switch (algorithm) {
        case JwtAlgorithm::RS256:
        case JwtAlgorithm::PS256:
            return EVP_PKEY_Q_keygen(nullptr, nullptr, "RSA", std::size_t{2048});
        case JwtAlgorithm::ES256:
            return EVP_PKEY_Q_keygen(nullptr, nullptr, "EC", "P-256");
        case JwtAlgorithm::EdDSA:
            return EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519");
    }
    return nullptr;
}

base::Bytes number_of(const EVP_PKEY* key, const char* name, int size = 0) {
    BIGNUM* number = nullptr;
    require_crypto(EVP_PKEY_get_bn_param(key, name, &number) == 1, name);
    base::Bytes bytes(static_cast<std::size_t>(size > 0 ? size : BN_num_bytes(number)));
    BN_bn2binpad(number, bytes.data(), static_cast<int>(bytes.size()));
    BN_free(number);
    return bytes;
}

// R and S side by side, from DER.
base::Bytes side_by_side(const base::Bytes& der) {
    const unsigned char* in = der.data();
    ECDSA_SIG* pair = d2i_ECDSA_SIG(nullptr, &in, static_cast<long>(der.size()));
    require_crypto(pair != nullptr, "d2i_ECDSA_SIG");
    base::Bytes out(64);
    BN_bn2binpad(ECDSA_SIG_get0_r(pair), out.data(), 32);
    BN_bn2binpad(ECDSA_SIG_get0_s(pair), out.data() + 32, 32);
    ECDSA_SIG_free(pair);
    return out;
}

}  // namespace

struct JwtSigner::Key {
    EVP_PKEY* key = nullptr;
    ~Key() { EVP_PKEY_free(key); }
};

JwtSigner::JwtSigner(std::string key_id, JwtAlgorithm algorithm)
    : key_id_(std::move(key_id)), algorithm_(algorithm), key_(std::make_unique<Key>()) {
    key_->key = make_key(algorithm);
    require_crypto(key_->key != nullptr, "keygen");
}

JwtSigner::~JwtSigner() = default;
JwtSigner::JwtSigner(JwtSigner&&) noexcept = default;

std::string JwtSigner::jwk() const {
    std::string out = R"({"kid":")" + key_id_ + R"(","alg":")" +
                      std::string(to_string(algorithm_)) + R"(","use":"sig",)";
    const auto field = [](std::string_view name, const base::Bytes& bytes) {
        return "\"" + std::string(name) + "\":\"" + base::to_base64url(bytes) + "\"";
    };
    const EVP_PKEY* key = key_->key;
    if (algorithm_ == JwtAlgorithm::ES256) {
        return out + R"("kty":"EC","crv":"P-256",)" +
               field("x", number_of(key, OSSL_PKEY_PARAM_EC_PUB_X, 32)) + "," +
               field("y", number_of(key, OSSL_PKEY_PARAM_EC_PUB_Y, 32)) + "}";
    }
    if (algorithm_ == JwtAlgorithm::EdDSA) {
        base::Bytes raw(32);
        std::size_t size = raw.size();
        require_crypto(EVP_PKEY_get_raw_public_key(key, raw.data(), &size) == 1, "raw key");
        return out + R"("kty":"OKP","crv":"Ed25519",)" + field("x", raw) + "}";
    }
    return out + R"("kty":"RSA",)" + field("n", number_of(key, OSSL_PKEY_PARAM_RSA_N)) + "," +
           field("e", number_of(key, OSSL_PKEY_PARAM_RSA_E)) + "}";
}

std::string JwtSigner::public_pem() const {
    BIO* out = BIO_new(BIO_s_mem());
    require_crypto(PEM_write_bio_PUBKEY(out, key_->key) == 1, "PEM");
    char* data = nullptr;
    const long size = BIO_get_mem_data(out, &data);
    std::string pem(data, static_cast<std::size_t>(size));
    BIO_free(out);
    return pem;
}

std::string JwtSigner::token(std::string_view claims) const {
    return token(R"({"typ":"JWT","alg":")" + std::string(to_string(algorithm_)) + R"(","kid":")" +
                     key_id_ + "\"}",
                 claims);
}

std::string JwtSigner::token(std::string_view header, std::string_view claims) const {
    const std::string text = part(header) + "." + part(claims);
    EVP_MD_CTX* context = EVP_MD_CTX_new();
    EVP_PKEY_CTX* options = nullptr;
    const EVP_MD* digest = algorithm_ == JwtAlgorithm::EdDSA ? nullptr : EVP_sha256();
    require_crypto(EVP_DigestSignInit(context, &options, digest, nullptr, key_->key) == 1, "sign");
    if (algorithm_ == JwtAlgorithm::PS256) {
        EVP_PKEY_CTX_set_rsa_padding(options, RSA_PKCS1_PSS_PADDING);
        EVP_PKEY_CTX_set_rsa_pss_saltlen(options, RSA_PSS_SALTLEN_DIGEST);
    }
    const auto message = base::as_bytes(text);
    std::size_t size = 0;
    require_crypto(EVP_DigestSign(context, nullptr, &size, message.data(), message.size()) == 1,
                   "size");
    base::Bytes signature(size);
    require_crypto(
        EVP_DigestSign(context, signature.data(), &size, message.data(), message.size()) == 1,
        "sign");
    signature.resize(size);
    EVP_MD_CTX_free(context);
    if (algorithm_ == JwtAlgorithm::ES256) signature = side_by_side(signature);
    return text + "." + base::to_base64url(signature);
}

std::string jwk_set(const std::vector<std::string>& keys) {
    std::string out = R"({"keys":[)";
    for (const std::string& key : keys) out += (out.back() == '[' ? "" : ",") + key;
    return out + "]}";
}

std::string unsigned_token(std::string_view header, std::string_view claims) {
    return part(header) + "." + part(claims) + ".";
}

std::string hmac_token(std::string_view header, std::string_view claims, std::string_view secret) {
    const std::string text = part(header) + "." + part(claims);
    const auto message = base::as_bytes(text);
    std::array<unsigned char, EVP_MAX_MD_SIZE> mac{};
    unsigned int size = 0;
    HMAC(EVP_sha256(), secret.data(), static_cast<int>(secret.size()), message.data(),
         message.size(), mac.data(), &size);
    return text + "." + base::to_base64url({mac.data(), size});
}

}  // namespace tests
