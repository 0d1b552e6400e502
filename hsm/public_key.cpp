#include "hsm/public_key.h"

#include <botan/data_src.h>
#include <botan/exceptn.h>
#include <botan/hash.h>
#include <botan/pk_keys.h>
#include <botan/pubkey.h>
#include <botan/x509_key.h>

#include <algorithm>
#include <array>
#include <memory>

#include "hsm/botan_names.h"

#include "base/encoding.h"
#include "base/error.h"

namespace hsm {
namespace {

constexpr std::uint8_t der_integer = 0x02;
constexpr std::uint8_t der_bit_string = 0x03;
constexpr std::uint8_t der_sequence = 0x30;
constexpr std::size_t der_short_form = 128;
constexpr std::size_t pem_line = 64;

[[noreturn]] void wrong_kind(KeyKind kind) {
    throw base::Error(base::ErrorCode::internal, "internal error",
                      "no public key or digest of that form for " + std::string(to_string(kind)));
}

base::Bytes join(std::initializer_list<base::ByteView> parts) {
    base::Bytes all;
    for (const base::ByteView part : parts) all.insert(all.end(), part.begin(), part.end());
    return all;
}

// Tag, length, value (X.690 8.1 and 10.1).
base::Bytes der(std::uint8_t tag, base::ByteView value) {
    base::Bytes head{tag};
    if (value.size() < der_short_form) {
        head.push_back(static_cast<std::uint8_t>(value.size()));
    } else {
        base::Bytes length;
        for (std::size_t rest = value.size(); rest != 0; rest >>= 8U)
            length.insert(length.begin(), static_cast<std::uint8_t>(rest));
        head.push_back(static_cast<std::uint8_t>(0x80U | length.size()));
        head.insert(head.end(), length.begin(), length.end());
    }
    return join({head, value});
}

// An unsigned number: no zeros in front but the one that keeps it positive.
base::Bytes der_unsigned(base::ByteView number) {
    while (number.size() > 1 && number.front() == 0) number = number.subspan(1);
    const base::Bytes zero{0};
    const bool needs_zero = number.empty() || (number.front() & 0x80U) != 0;
    return der(der_integer, needs_zero ? join({zero, number}) : base::to_bytes(number));
}

base::Bytes public_key_info(base::ByteView algorithm, base::ByteView key) {
    const base::Bytes no_unused_bits{0};
    return der(der_sequence, join({der(der_sequence, algorithm),
                                   der(der_bit_string, join({no_unused_bits, key}))}));
}

// AlgorithmIdentifiers without their SEQUENCE: RFC 5480 2.1.1, RFC 8410 3, RFC 3279 2.3.1.
constexpr std::array<std::uint8_t, 19> p256_algorithm{0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d,
                                                      0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
                                                      0xce, 0x3d, 0x03, 0x01, 0x07};
constexpr std::array<std::uint8_t, 16> p384_algorithm{
    0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22};
constexpr std::array<std::uint8_t, 5> ed25519_algorithm{0x06, 0x03, 0x2b, 0x65, 0x70};
constexpr std::array<std::uint8_t, 13> rsa_algorithm{0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7,
                                                     0x0d, 0x01, 0x01, 0x01, 0x05, 0x00};

// What Botan calls the scheme.
std::string padding(KeyKind kind) {
    switch (kind) {
        case KeyKind::ecdsa_p256:
            return "EMSA1(SHA-256)";
        case KeyKind::ecdsa_p384:
            return "EMSA1(SHA-384)";
        case KeyKind::ed25519:
            return "Pure";
        case KeyKind::rsa_pss_3072:
        case KeyKind::rsa_pss_4096:
            return "EMSA4(SHA-256,MGF1,32)";  // the salt must be as long, too
        case KeyKind::aes_256:
        case KeyKind::hmac_sha_256:
            break;
    }
    wrong_kind(kind);
}

bool is_ecdsa(KeyKind kind) noexcept {
    return kind == KeyKind::ecdsa_p256 || kind == KeyKind::ecdsa_p384;
}

// Null unless the bytes are one well-formed key and nothing more.
std::unique_ptr<Botan::Public_Key> load(base::ByteView public_key) {
    try {
        Botan::DataSource_Memory source(public_key.data(), public_key.size());
        std::unique_ptr<Botan::Public_Key> key(Botan::X509::load_key(source));
        const auto again = key ? key->subject_public_key() : std::vector<std::uint8_t>();
        if (!std::equal(again.begin(), again.end(), public_key.begin(), public_key.end()))
            return nullptr;
        return key;
    } catch (const std::exception&) {  // Botan's own and those of its parsers
        return nullptr;
    }
}

std::optional<KeyKind> kind_of(const Botan::Public_Key& key) {
    const std::string name = key.algo_name();
    if (name == "Ed25519") return KeyKind::ed25519;
    if (name == "RSA" && key.key_length() == 3072) return KeyKind::rsa_pss_3072;
    if (name == "RSA" && key.key_length() == 4096) return KeyKind::rsa_pss_4096;
    if (name != "ECDSA" && name != "EC") return std::nullopt;
    const auto info = key.subject_public_key();
    const auto is_on = [&](base::ByteView algorithm) {
        return std::search(info.begin(), info.end(), algorithm.begin(), algorithm.end()) !=
               info.end();
    };
    if (is_on(p256_algorithm)) return KeyKind::ecdsa_p256;
    if (is_on(p384_algorithm)) return KeyKind::ecdsa_p384;
    return std::nullopt;
}

}  // namespace

base::Bytes curve_public_key(KeyKind kind, base::ByteView point) {
    switch (kind) {
        case KeyKind::ecdsa_p256:
            return public_key_info(p256_algorithm, point);
        case KeyKind::ecdsa_p384:
            return public_key_info(p384_algorithm, point);
        case KeyKind::ed25519:
            return public_key_info(ed25519_algorithm, point);
        case KeyKind::aes_256:
        case KeyKind::hmac_sha_256:
        case KeyKind::rsa_pss_3072:
        case KeyKind::rsa_pss_4096:
            break;
    }
    wrong_kind(kind);
}

base::Bytes rsa_public_key(base::ByteView modulus, base::ByteView exponent) {
    return public_key_info(
        rsa_algorithm, der(der_sequence, join({der_unsigned(modulus), der_unsigned(exponent)})));
}

std::optional<KeyKind> kind_of_public_key(base::ByteView public_key) {
    const auto key = load(public_key);
    return key ? kind_of(*key) : std::nullopt;
}

std::string to_pem(base::ByteView public_key) {
    const std::string text = base::to_base64(public_key);
    std::string pem = "-----BEGIN PUBLIC KEY-----\n";
    for (std::size_t at = 0; at < text.size(); at += pem_line)
        pem.append(text, at, pem_line).append(1, '\n');
    return pem + "-----END PUBLIC KEY-----\n";
}

base::Bytes signing_digest(KeyKind kind, base::ByteView message) {
    if (!is_pair(kind) || kind == KeyKind::ed25519) wrong_kind(kind);
    const auto hash =
        Botan::HashFunction::create_or_throw(kind == KeyKind::ecdsa_p384 ? "SHA-384" : "SHA-256");
    hash->update(message.data(), message.size());
    base::Bytes digest(hash->output_length());
    hash->final(digest.data());
    return digest;
}

base::Bytes ecdsa_signature_to_der(base::ByteView raw) {
    const std::size_t half = raw.size() / 2;
    return der(der_sequence,
               join({der_unsigned(raw.first(half)), der_unsigned(raw.subspan(half))}));
}

bool verify_signature(KeyKind kind, base::ByteView public_key, base::ByteView message,
                      base::ByteView signature) {
    const auto key = load(public_key);
    if (!key || kind_of(*key) != kind) return false;
    try {
        Botan::PK_Verifier verifier(*key, padding(kind),
                                    is_ecdsa(kind) ? der_signature : plain_signature);
        verifier.update(message.data(), message.size());
        return verifier.check_signature(signature.data(), signature.size());
    } catch (const Botan::Exception&) {  // a signature of a wrong shape
        return false;
    }
}

}  // namespace hsm
