#include "server/jwk.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include <algorithm>
#include <array>

#include "base/encoding.h"
#include "base/error.h"

namespace server {
namespace {

using base::Error;
using base::ErrorCode;
using base::JsonReader;
using base::JsonValue;

constexpr std::size_t max_keys = 100;
constexpr std::size_t max_key_id_bytes = 256;
constexpr std::size_t max_jwk_word_bytes = 64;
constexpr std::size_t max_number_text_bytes = 2048;
constexpr int min_rsa_bits = 2048;
constexpr int max_rsa_bits = 8192;
constexpr std::size_t max_exponent_bytes = 8;
constexpr std::size_t coordinate_bytes = 32;  // of P-256, and an Ed25519 key's

struct FreeOpenssl {
    void operator()(BIGNUM* number) const { BN_free(number); }
    void operator()(OSSL_PARAM_BLD* builder) const { OSSL_PARAM_BLD_free(builder); }
    void operator()(OSSL_PARAM* parameters) const { OSSL_PARAM_free(parameters); }
    void operator()(EVP_PKEY_CTX* context) const { EVP_PKEY_CTX_free(context); }
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
    void operator()(ECDSA_SIG* signature) const { ECDSA_SIG_free(signature); }
};
template <typename T>
using OpensslPointer = std::unique_ptr<T, FreeOpenssl>;
using PublicKey = std::shared_ptr<EVP_PKEY>;

void require_openssl(bool good, const char* what) {
    if (good) return;
    ERR_clear_error();
    throw Error(ErrorCode::internal, "internal error", std::string("OpenSSL: ") + what);
}

base::Bytes number_in(JsonReader& jwk, std::string_view name) {
    auto bytes = base::parse_base64url(jwk.required_string(name, max_number_text_bytes));
    if (!bytes || bytes->empty()) jwk.refuse(name, "must be base64url without padding");
    return std::move(*bytes);
}

OpensslPointer<BIGNUM> big_number(base::ByteView bytes) {
    OpensslPointer<BIGNUM> number(BN_bin2bn(bytes.data(), static_cast<int>(bytes.size()), nullptr));
    require_openssl(number != nullptr, "BN_bin2bn");
    return number;
}

// Null when OpenSSL refuses the key.
PublicKey make_public_key(const char* type, OSSL_PARAM_BLD* builder) {
    const OpensslPointer<OSSL_PARAM> parameters(OSSL_PARAM_BLD_to_param(builder));
    const OpensslPointer<EVP_PKEY_CTX> context(EVP_PKEY_CTX_new_from_name(nullptr, type, nullptr));
    require_openssl(
        parameters != nullptr && context != nullptr && EVP_PKEY_fromdata_init(context.get()) == 1,
        "EVP_PKEY_fromdata_init");
    EVP_PKEY* key = nullptr;
    if (EVP_PKEY_fromdata(context.get(), &key, EVP_PKEY_PUBLIC_KEY, parameters.get()) != 1) {
        ERR_clear_error();
        return nullptr;
    }
    return {key, &EVP_PKEY_free};
}

PublicKey rsa_key(JsonReader& jwk) {
    const base::Bytes modulus = number_in(jwk, "n");
    const base::Bytes exponent = number_in(jwk, "e");
    const auto n = big_number(modulus);
    const auto e = big_number(exponent);
    const int bits = BN_num_bits(n.get());
    if (bits < min_rsa_bits || bits > max_rsa_bits) {
        jwk.refuse("n", "must have 2048 to 8192 bits");
    }
    if (exponent.size() > max_exponent_bytes || BN_is_odd(e.get()) == 0 ||
        BN_is_one(e.get()) != 0) {
        jwk.refuse("e", "must be an odd number above 1, of at most 8 bytes");
    }
    const OpensslPointer<OSSL_PARAM_BLD> builder(OSSL_PARAM_BLD_new());
    require_openssl(
        builder != nullptr &&
            OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_RSA_N, n.get()) == 1 &&
            OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_RSA_E, e.get()) == 1,
        "OSSL_PARAM_BLD");
    return make_public_key("RSA", builder.get());
}

base::Bytes coordinate_in(JsonReader& jwk, std::string_view name) {
    auto bytes = number_in(jwk, name);
    if (bytes.size() != coordinate_bytes) jwk.refuse(name, "must have 32 bytes");
    return bytes;
}

PublicKey p256_key(JsonReader& jwk) {
    base::Bytes point = {0x04};  // uncompressed (SEC 1 2.3.3)
    for (const char* name : {"x", "y"}) {
        const base::Bytes coordinate = coordinate_in(jwk, name);
        point.insert(point.end(), coordinate.begin(), coordinate.end());
    }
    const OpensslPointer<OSSL_PARAM_BLD> builder(OSSL_PARAM_BLD_new());
    require_openssl(builder != nullptr &&
                        OSSL_PARAM_BLD_push_utf8_string(builder.get(), OSSL_PKEY_PARAM_GROUP_NAME,
                                                        "P-256", 0) == 1 &&
                        OSSL_PARAM_BLD_push_octet_string(builder.get(), OSSL_PKEY_PARAM_PUB_KEY,
                                                         point.data(), point.size()) == 1,
                    "OSSL_PARAM_BLD");
    PublicKey key = make_public_key("EC", builder.get());
    if (key == nullptr) jwk.refuse("x", "and \"y\" are no point of P-256");
    return key;
}

PublicKey ed25519_key(JsonReader& jwk) {
    const base::Bytes x = coordinate_in(jwk, "x");
    PublicKey key(EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr, x.data(), x.size()),
                  &EVP_PKEY_free);
    if (key == nullptr) {
        ERR_clear_error();
        jwk.refuse("x", "is no Ed25519 key");
    }
    return key;
}

// RFC 7517 4.2 and 4.3: what does not say is for anything.
bool is_for_verifying(JsonReader& jwk) {
    const auto use = jwk.optional_string("use", max_jwk_word_bytes);
    if (use && *use != "sig") return false;
    const auto operations = jwk.optional_string_array("key_ops", max_keys, max_jwk_word_bytes);
    return operations.empty() ||
           std::find(operations.begin(), operations.end(), "verify") != operations.end();
}

// What a key of that type and "alg" is for; empty when it is nothing that is used here.
std::optional<JwtAlgorithm> algorithm_of(JsonReader& jwk) {
    const auto type = jwk.required_string("kty", max_jwk_word_bytes);
    const auto word = jwk.optional_string("alg", max_jwk_word_bytes);
    const auto curve = jwk.optional_string("crv", max_jwk_word_bytes).value_or("");
    std::optional<JwtAlgorithm> fitting;
    if (type == "RSA") fitting = JwtAlgorithm::RS256;
    if (type == "EC" && curve == "P-256") fitting = JwtAlgorithm::ES256;
    if (type == "OKP" && curve == "Ed25519") fitting = JwtAlgorithm::EdDSA;
    if (!fitting || !word) return fitting;
    if (type == "RSA" && *word == "PS256") return JwtAlgorithm::PS256;
    return *word == to_string(*fitting) ? fitting : std::nullopt;
}

void require_public(JsonReader& jwk) {
    for (const char* name : {"d", "p", "q", "dp", "dq", "qi", "oth"}) {
        if (jwk.has(name)) jwk.refuse(name, "is of a private key, which must not be here");
    }
}

// ES256 has R and S side by side (RFC 7518 3.4), OpenSSL reads DER. Empty when the size is wrong.
base::Bytes to_der(base::ByteView signature) {
    if (signature.size() != 2 * coordinate_bytes) return {};
    auto r = big_number(signature.first(coordinate_bytes));
    auto s = big_number(signature.last(coordinate_bytes));
    const OpensslPointer<ECDSA_SIG> pair(ECDSA_SIG_new());
    require_openssl(pair != nullptr && ECDSA_SIG_set0(pair.get(), r.get(), s.get()) == 1,
                    "ECDSA_SIG_set0");
    static_cast<void>(r.release());  // the pair's now
    static_cast<void>(s.release());
    const int size = i2d_ECDSA_SIG(pair.get(), nullptr);
    require_openssl(size > 0, "i2d_ECDSA_SIG");
    base::Bytes der(static_cast<std::size_t>(size));
    unsigned char* out = der.data();
    require_openssl(i2d_ECDSA_SIG(pair.get(), &out) == size, "i2d_ECDSA_SIG");
    return der;
}

bool set_padding(EVP_PKEY_CTX* context, JwtAlgorithm algorithm) {
    if (algorithm == JwtAlgorithm::RS256) {
        return EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PADDING) == 1;
    }
    if (algorithm == JwtAlgorithm::PS256) {  // the salt is as long as the hash: RFC 7518 3.5
        return EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PSS_PADDING) == 1 &&
               EVP_PKEY_CTX_set_rsa_pss_saltlen(context, RSA_PSS_SALTLEN_DIGEST) == 1 &&
               EVP_PKEY_CTX_set_rsa_mgf1_md(context, EVP_sha256()) == 1;
    }
    return true;
}

}  // namespace

std::string_view to_string(JwtAlgorithm algorithm) noexcept {
    switch (algorithm) {
        case JwtAlgorithm::RS256:
            return "RS256";
        case JwtAlgorithm::PS256:
            return "PS256";
        case JwtAlgorithm::ES256:
            return "ES256";
        case JwtAlgorithm::EdDSA:
            return "EdDSA";
    }
    return "";
}

std::optional<JwtAlgorithm> parse_jwt_algorithm(std::string_view word) noexcept {
    for (const JwtAlgorithm algorithm :
         {JwtAlgorithm::RS256, JwtAlgorithm::PS256, JwtAlgorithm::ES256, JwtAlgorithm::EdDSA}) {
        if (word == to_string(algorithm)) return algorithm;
    }
    return std::nullopt;
}

std::optional<JwtKey> JwtKey::from_jwk(const JsonValue& jwk) {
    JsonReader reader(jwk);
    const auto algorithm = algorithm_of(reader);
    if (!algorithm || !is_for_verifying(reader)) return std::nullopt;
    require_public(reader);
    PublicKey key;
    switch (*algorithm) {
        case JwtAlgorithm::RS256:
        case JwtAlgorithm::PS256:
            key = rsa_key(reader);
            break;
        case JwtAlgorithm::ES256:
            key = p256_key(reader);
            break;
        case JwtAlgorithm::EdDSA:
            key = ed25519_key(reader);
            break;
    }
    if (key == nullptr) reader.refuse("kty", "names a key that OpenSSL refuses");
    return JwtKey(*algorithm, std::move(key));
}

bool JwtKey::verifies(std::string_view text, base::ByteView signature) const {
    base::Bytes der;
    if (algorithm_ == JwtAlgorithm::ES256) {
        der = to_der(signature);
        if (der.empty()) return false;
        signature = der;
    }
    const OpensslPointer<EVP_MD_CTX> context(EVP_MD_CTX_new());
    require_openssl(context != nullptr, "EVP_MD_CTX_new");
    const EVP_MD* digest = algorithm_ == JwtAlgorithm::EdDSA ? nullptr : EVP_sha256();
    EVP_PKEY_CTX* options = nullptr;  // the context's
    require_openssl(
        EVP_DigestVerifyInit(context.get(), &options, digest, nullptr, key_.get()) == 1 &&
            set_padding(options, algorithm_),
        "EVP_DigestVerifyInit");
    const base::ByteView message = base::as_bytes(text);
    const int result = EVP_DigestVerify(context.get(), signature.data(), signature.size(),
                                        message.data(), message.size());
    ERR_clear_error();  // a signature that is no signature leaves entries, too
    return result == 1;
}

JwkSet::JwkSet(std::string_view json) {
    base::JsonLimits limits;
    limits.bytes = max_jwk_set_bytes;
    const JsonValue document = base::parse_json(json, limits);
    JsonReader top(document);
    const auto& keys = top.required_array("keys", max_keys);
    for (std::size_t i = 0; i < keys.size(); ++i) {
        JsonReader reader(keys[i], top.item_path("keys", i));
        const auto id = reader.optional_string("kid", max_key_id_bytes);
        std::optional<JwtKey> key;
        try {
            key = JwtKey::from_jwk(keys[i]);
        } catch (const Error& error) {
            if (error.code() != ErrorCode::invalid_argument) throw;
            throw Error(error.code(), top.item_path("keys", i) + ": " + error.message());
        }
        if (!key || !id) continue;
        if (!keys_.emplace(std::string(*id), std::move(*key)).second) {
            reader.refuse("kid", "stands twice");
        }
    }
    if (keys_.empty()) {
        top.refuse("keys", "holds no key with a \"kid\" for RS256, PS256, ES256 or EdDSA");
    }
}

const JwtKey* JwkSet::find(std::string_view key_id) const {
    const auto found = keys_.find(key_id);
    return found == keys_.end() ? nullptr : &found->second;
}

}  // namespace server
