// The drawing of vault/sealed.h by OpenSSL, as a second implementation: opens credentials of either
// format, and seals those of format 2, which the vault itself writes no more.
#pragma once

#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/random.h"
#include "vault/sealed.h"

namespace tests {

inline base::Bytes openssl_hkdf(base::ByteView key, std::string_view info) {
    const std::unique_ptr<EVP_PKEY_CTX, decltype(&EVP_PKEY_CTX_free)> context(
        EVP_PKEY_CTX_new_id(EVP_PKEY_HKDF, nullptr), EVP_PKEY_CTX_free);
    const auto salt = base::as_bytes("strongroom sealed credential 2");
    const auto label = base::as_bytes(info);
    base::Bytes out(32);
    std::size_t size = out.size();
    EXPECT_EQ(EVP_PKEY_derive_init(context.get()), 1);
    EXPECT_EQ(EVP_PKEY_CTX_set_hkdf_md(context.get(), EVP_sha512()), 1);
    EXPECT_EQ(
        EVP_PKEY_CTX_set1_hkdf_salt(context.get(), salt.data(), static_cast<int>(salt.size())), 1);
    EXPECT_EQ(EVP_PKEY_CTX_set1_hkdf_key(context.get(), key.data(), static_cast<int>(key.size())),
              1);
    EXPECT_EQ(
        EVP_PKEY_CTX_add1_hkdf_info(context.get(), label.data(), static_cast<int>(label.size())),
        1);
    EXPECT_EQ(EVP_PKEY_derive(context.get(), out.data(), &size), 1);
    return out;
}

inline void draw_number(std::string& out, std::uint64_t value, unsigned bytes) {
    while (bytes-- > 0) out += static_cast<char>((value >> (8 * bytes)) & 0xFFU);
}

inline void draw_time(std::string& out, base::Time time) {
    draw_number(out, static_cast<std::uint64_t>(time.time_since_epoch().count()), 8);
}

inline void draw_text(std::string& out, std::string_view text, unsigned length_bytes = 2) {
    draw_number(out, text.size(), length_bytes);
    out += text;
}

inline base::Bytes drawn_aad(const vault::SealBinding& where,
                             const std::optional<vault::AttributesDigest>& attributes) {
    std::string aad = attributes ? "SRsc\x03" : "SRsc\x02";
    draw_text(aad, where.owner);
    draw_text(aad, where.name);
    draw_number(aad, where.version, 8);
    if (attributes) {
        draw_time(aad, where.created_at);
        aad += where.expires_at ? '\1' : '\0';
        draw_time(aad, where.expires_at.value_or(base::Time{}));
        draw_number(aad, where.restored_from.value_or(0), 8);
        aad.append(attributes->begin(), attributes->end());
    }
    return base::to_bytes(base::as_bytes(aad));
}

inline vault::AttributesDigest openssl_attributes(const vault::CredentialInfo& info) {
    std::string drawn = "SRsa\x03";
    draw_time(drawn, info.created_at);
    draw_time(drawn, info.updated_at);
    draw_number(drawn, info.first_version, 8);
    draw_text(drawn, info.metadata, 4);
    draw_number(drawn, info.tags.size(), 2);
    for (const auto& [name, value] : info.tags) {
        draw_text(drawn, name);
        draw_text(drawn, value);
    }
    vault::AttributesDigest digest{};
    EXPECT_EQ(EVP_Digest(drawn.data(), drawn.size(), digest.data(), nullptr, EVP_sha256(), nullptr),
              1);
    return digest;
}

inline std::optional<std::string> openssl_open(const vault::SealedCredential& sealed,
                                               const vault::SealBinding& where,
                                               base::ByteView data_key) {
    if (openssl_hkdf(data_key, "key commitment") !=
        base::Bytes(sealed.commitment.begin(), sealed.commitment.end())) {
        return std::nullopt;
    }
    const auto key = openssl_hkdf(data_key, "record key");
    const auto aad = drawn_aad(where, sealed.attributes);
    const std::unique_ptr<EVP_CIPHER_CTX, decltype(&EVP_CIPHER_CTX_free)> context(
        EVP_CIPHER_CTX_new(), EVP_CIPHER_CTX_free);
    const auto body = static_cast<int>(sealed.ciphertext.size() - vault::sealed_tag_bytes);
    base::Bytes tag(sealed.ciphertext.begin() + body, sealed.ciphertext.end());
    std::string plaintext(static_cast<std::size_t>(body), '\0');
    auto* out = reinterpret_cast<unsigned char*>(plaintext.data());
    int size = 0;
    EVP_DecryptInit_ex(context.get(), EVP_aes_256_gcm(), nullptr, key.data(), sealed.iv.data());
    EVP_DecryptUpdate(context.get(), nullptr, &size, aad.data(), static_cast<int>(aad.size()));
    EVP_DecryptUpdate(context.get(), out, &size, sealed.ciphertext.data(), body);
    EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_GCM_SET_TAG, 16, tag.data());
    if (EVP_DecryptFinal_ex(context.get(), out + size, &size) != 1) return std::nullopt;
    return plaintext;
}

// In format 2, as the vault did before it bound attributes.
inline vault::SealedCredential openssl_seal_of_format_2(const vault::SealBinding& where,
                                                        const vault::DataKey& data_key,
                                                        std::string_view plaintext) {
    vault::SealedCredential sealed;
    sealed.key_id = data_key.key_id;
    sealed.key_version = data_key.key_version;
    sealed.wrapped_data_key = data_key.wrapped;
    base::random_bytes(sealed.iv);
    const auto commitment = openssl_hkdf(data_key.plaintext.expose(), "key commitment");
    std::copy(commitment.begin(), commitment.end(), sealed.commitment.begin());
    const auto key = openssl_hkdf(data_key.plaintext.expose(), "record key");
    const auto aad = drawn_aad(where, std::nullopt);
    const std::unique_ptr<EVP_CIPHER_CTX, decltype(&EVP_CIPHER_CTX_free)> context(
        EVP_CIPHER_CTX_new(), EVP_CIPHER_CTX_free);
    sealed.ciphertext.resize(plaintext.size() + vault::sealed_tag_bytes);
    unsigned char* out = sealed.ciphertext.data();
    const base::ByteView text = base::as_bytes(plaintext);
    int size = 0;
    EVP_EncryptInit_ex(context.get(), EVP_aes_256_gcm(), nullptr, key.data(), sealed.iv.data());
    EVP_EncryptUpdate(context.get(), nullptr, &size, aad.data(), static_cast<int>(aad.size()));
    EVP_EncryptUpdate(context.get(), out, &size, text.data(), static_cast<int>(text.size()));
    EXPECT_EQ(EVP_EncryptFinal_ex(context.get(), out + size, &size), 1);
    EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_GCM_GET_TAG, 16, out + text.size());
    return sealed;
}

}  // namespace tests
