#include "server/edge_tls.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <array>

#include "base/encoding.h"
#include "base/error.h"
#include "base/file.h"

namespace server {

namespace {

constexpr const char* tls_1_2_suites =
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:"
    "ECDHE-RSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256";
constexpr int max_chain_depth = 5;
constexpr std::size_t max_pem_bytes = 256UL * 1024;

[[noreturn]] void refuse(const std::string& what) {
    throw base::Error(base::ErrorCode::failed_precondition, what, take_tls_error());
}

// The house's file checks throw invalid_argument; at start-up all of these are the operator's.
template <typename Check>
void check_file(const char* role, Check check) {
    try {
        check();
    } catch (const base::Error& error) {
        refuse(std::string(role) + ": " + error.message());
    }
}

// An encrypted key would make OpenSSL ask on the terminal; a daemon has none.
int no_passphrase(char* /*buffer*/, int /*size*/, int /*writing*/, void* /*user*/) { return 0; }

// HTTP/1.1 is the one protocol here. A client that offers only others gets no ALPN answer.
int select_protocol(SSL* /*ssl*/, const unsigned char** out, unsigned char* out_size,
                    const unsigned char* offered, unsigned int offered_size, void* /*user*/) {
    static constexpr std::array<unsigned char, 9> http_1_1 = {8,   'h', 't', 't', 'p',
                                                              '/', '1', '.', '1'};
    unsigned char* chosen = nullptr;
    const int result = SSL_select_next_proto(&chosen, out_size, http_1_1.data(), http_1_1.size(),
                                             offered, offered_size);
    if (result != OPENSSL_NPN_NEGOTIATED) return SSL_TLSEXT_ERR_NOACK;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

void set_protocol(SSL_CTX* context, TlsVersion minimum) {
    const int version = minimum == TlsVersion::tls_1_3 ? TLS1_3_VERSION : TLS1_2_VERSION;
    if (SSL_CTX_set_min_proto_version(context, version) != 1 ||
        SSL_CTX_set_cipher_list(context, tls_1_2_suites) != 1) {
        refuse("this OpenSSL refuses the TLS settings");
    }
    SSL_CTX_set_security_level(context, 2);
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                     SSL_OP_NO_TICKET | SSL_OP_CIPHER_SERVER_PREFERENCE |
                                     SSL_OP_CLEANSE_PLAINTEXT);
    SSL_CTX_set_num_tickets(context, 0);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_alpn_select_cb(context, &select_protocol, nullptr);
    // Small memory for idle connections, and one read() for a record instead of two.
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                  SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_read_ahead(context, 1);
}

void load_own_certificate(SSL_CTX* context, const EdgeConfig& config) {
    check_file("TLS certificate", [&] { base::read_file(config.certificate, max_pem_bytes); });
    check_file("TLS key", [&] { base::require_private_file(config.key); });
    if (SSL_CTX_use_certificate_chain_file(context, config.certificate.c_str()) != 1) {
        refuse("TLS certificate: " + config.certificate.string() +
               " holds no PEM certificate that can be used");
    }
    SSL_CTX_set_default_passwd_cb(context, &no_passphrase);
    if (SSL_CTX_use_PrivateKey_file(context, config.key.c_str(), SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_check_private_key(context) != 1) {
        refuse("TLS key: " + config.key.string() + " is no unencrypted PEM key that belongs to " +
               config.certificate.string());
    }
}

void load_client_authority(SSL_CTX* context, const EdgeConfig& config) {
    check_file("client CA", [&] { base::read_trusted_file(config.client_ca, max_pem_bytes); });
    // Owned by the context after SSL_CTX_set_client_CA_list.
    STACK_OF(X509_NAME)* names = SSL_load_client_CA_file(config.client_ca.c_str());
    if (names == nullptr ||
        SSL_CTX_load_verify_locations(context, config.client_ca.c_str(), nullptr) != 1) {
        sk_X509_NAME_pop_free(names, X509_NAME_free);
        refuse("client CA: " + config.client_ca.string() + " holds no PEM certificate");
    }
    SSL_CTX_set_client_CA_list(context, names);
    SSL_CTX_set_verify_depth(context, max_chain_depth);
    const int required = config.require_client_certificate ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0;
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | required, nullptr);
    SSL_CTX_set_purpose(context, X509_PURPOSE_SSL_CLIENT);
}

std::string subject_of(const X509* certificate) {
    const std::unique_ptr<BIO, decltype(&BIO_free)> out(BIO_new(BIO_s_mem()), &BIO_free);
    if (out == nullptr ||
        X509_NAME_print_ex(out.get(), X509_get_subject_name(certificate), 0, XN_FLAG_RFC2253) < 0) {
        throw base::Error(base::ErrorCode::internal, "the certificate's subject can't be read");
    }
    char* data = nullptr;
    const long size = BIO_get_mem_data(out.get(), &data);
    return size > 0 ? std::string(data, static_cast<std::size_t>(size)) : std::string();
}

std::vector<std::string> uri_names_of(const X509* certificate) {
    std::vector<std::string> uris;
    const std::unique_ptr<GENERAL_NAMES, decltype(&GENERAL_NAMES_free)> names(
        static_cast<GENERAL_NAMES*>(
            X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)),
        &GENERAL_NAMES_free);
    if (names == nullptr) return uris;
    for (int i = 0; i < sk_GENERAL_NAME_num(names.get()); ++i) {
        int type = 0;
        const void* value = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names.get(), i), &type);
        if (type != GEN_URI) continue;
        const auto* text = static_cast<const ASN1_STRING*>(value);
        std::string uri(base::as_text(
            {ASN1_STRING_get0_data(text), static_cast<std::size_t>(ASN1_STRING_length(text))}));
        // A NUL or a control byte inside could make two names look alike further up.
        const bool printable =
            std::all_of(uri.begin(), uri.end(), [](char c) { return c > ' ' && c < 0x7f; });
        if (uri.empty() || !printable) {
            throw base::Error(base::ErrorCode::invalid_argument,
                              "the client certificate has a malformed URI name");
        }
        uris.push_back(std::move(uri));
    }
    return uris;
}

std::string fingerprint_of(const X509* certificate) {
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    unsigned int size = 0;
    if (X509_digest(certificate, EVP_sha256(), digest.data(), &size) != 1) {
        throw base::Error(base::ErrorCode::internal, "the certificate can't be hashed");
    }
    return base::to_hex({digest.data(), size});
}

}  // namespace

SslContext make_tls_context(const EdgeConfig& config) {
    ERR_clear_error();
    SslContext context(SSL_CTX_new(TLS_server_method()));
    if (context == nullptr) refuse("OpenSSL gives no TLS context");
    set_protocol(context.get(), config.minimum_version);
    load_own_certificate(context.get(), config);
    load_client_authority(context.get(), config);
    return context;
}

std::optional<PeerCertificate> read_peer_certificate(const SSL* ssl) {
    const std::unique_ptr<X509, decltype(&X509_free)> certificate(SSL_get1_peer_certificate(ssl),
                                                                  &X509_free);
    if (certificate == nullptr) return std::nullopt;
    return PeerCertificate{subject_of(certificate.get()), uri_names_of(certificate.get()),
                           fingerprint_of(certificate.get())};
}

std::string take_tls_error() {
    const unsigned long code = ERR_peek_last_error();
    ERR_clear_error();
    if (code == 0) return {};
    std::array<char, 256> text{};
    ERR_error_string_n(code, text.data(), text.size());
    return text.data();
}

}  // namespace server
