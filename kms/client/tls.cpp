#include "kms/client/tls.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include <array>
#include <ctime>

#include "base/encoding.h"
#include "base/error.h"
#include "base/file.h"

namespace kms {
namespace {

using base::Error;
using base::ErrorCode;

constexpr std::size_t max_pem_bytes = 1024UL * 1024;

// The newest complaint of OpenSSL, and an empty queue.
std::string openssl_reason() {
    std::array<char, 256> text{};
    const unsigned long code = ERR_peek_last_error();
    ERR_clear_error();
    if (code == 0) return "no reason given";
    ERR_error_string_n(code, text.data(), text.size());
    return text.data();
}

[[noreturn]] void refuse(const std::filesystem::path& path, const std::string& why) {
    throw Error(ErrorCode::invalid_argument, path.string() + ": " + why, openssl_reason());
}

void require(bool fine, const char* what) {
    if (!fine) {
        throw Error(ErrorCode::internal, "TLS could not be set up",
                    std::string(what) + ": " + openssl_reason());
    }
}

bool is_ip_address(const std::string& host) {
    in6_addr address{};
    return inet_pton(AF_INET, host.c_str(), &address) == 1 ||
           inet_pton(AF_INET6, host.c_str(), &address) == 1;
}

// OpenSSL reads a certificate's extensions when it first needs them, which may be in several
// handshakes at once: done here, nothing of what they share is written later.
void read_extensions(X509_STORE* store) {
    const STACK_OF(X509_OBJECT)* objects = X509_STORE_get0_objects(store);
    for (int i = 0; i < sk_X509_OBJECT_num(objects); ++i) {
        X509* certificate = X509_OBJECT_get0_X509(sk_X509_OBJECT_value(objects, i));
        if (certificate != nullptr) X509_check_purpose(certificate, -1, 0);
    }
}

std::string time_text(const ASN1_TIME* time) {
    std::tm parts{};
    if (time == nullptr || ASN1_TIME_to_tm(time, &parts) != 1) return "unknown";
    std::array<char, 32> text{};
    const std::size_t size = std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts);
    return {text.data(), size};
}

}  // namespace

ClientTls::ClientTls(const std::filesystem::path& ca, const std::filesystem::path& certificate,
                     const std::filesystem::path& key)
    : identity_(SSL_CTX_new(TLS_client_method())) {
    require(identity_ != nullptr, "SSL_CTX_new");
    // The plain reads come first: their messages say "missing" or "can't open" in words.
    base::read_file(ca, max_pem_bytes);
    if (SSL_CTX_load_verify_file(identity_.get(), ca.c_str()) != 1) {
        refuse(ca, "holds no certificate authority in PEM form");
    }
    read_extensions(SSL_CTX_get_cert_store(identity_.get()));
    if (certificate.empty() && key.empty()) return;
    base::read_file(certificate, max_pem_bytes);
    if (SSL_CTX_use_certificate_chain_file(identity_.get(), certificate.c_str()) != 1) {
        refuse(certificate, "holds no certificate in PEM form");
    }
    base::require_private_file(key);
    // A key under a passphrase would make OpenSSL ask on the terminal, in the middle of a service.
    SSL_CTX_set_default_passwd_cb(identity_.get(), [](char*, int, int, void*) { return 0; });
    if (SSL_CTX_use_PrivateKey_file(identity_.get(), key.c_str(), SSL_FILETYPE_PEM) != 1) {
        refuse(key, "holds no private key in PEM form that belongs to " + certificate.string() +
                        " and has no passphrase");
    }
    if (SSL_CTX_check_private_key(identity_.get()) != 1) {
        refuse(key, "does not belong to the certificate " + certificate.string());
    }
}

void ClientTls::apply_to(SSL_CTX* context, const std::string& host) const {
    require(context != nullptr, "SSL_CTX_new");
    require(SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) == 1, "minimum version");
    // What was received lies in a buffer of the connection until more comes: data keys would stay
    // there for as long as it is kept open.
    SSL_CTX_set_options(context, SSL_OP_CLEANSE_PLAINTEXT);
    if (X509* own = SSL_CTX_get0_certificate(identity_.get()); own != nullptr) {
        require(SSL_CTX_use_certificate(context, own) == 1, "certificate");
        STACK_OF(X509)* chain = nullptr;
        require(SSL_CTX_get0_chain_certs(identity_.get(), &chain) == 1, "chain");
        require(chain == nullptr || SSL_CTX_set1_chain(context, chain) == 1, "chain");
        require(SSL_CTX_use_PrivateKey(context, SSL_CTX_get0_privatekey(identity_.get())) == 1,
                "private key");
    }
    // Also for the chain of our own certificate, which may be completed from there.
    X509_STORE* authorities = SSL_CTX_get_cert_store(identity_.get());
    require(SSL_CTX_set1_verify_cert_store(context, authorities) == 1, "authorities");
    require(SSL_CTX_set1_chain_cert_store(context, authorities) == 1, "authorities");
    X509_VERIFY_PARAM* rules = SSL_CTX_get0_param(context);
    X509_VERIFY_PARAM_set_hostflags(rules, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (is_ip_address(host)) {
        require(X509_VERIFY_PARAM_set1_ip_asc(rules, host.c_str()) == 1, "IP address");
    } else {
        require(X509_VERIFY_PARAM_set1_host(rules, host.data(), host.size()) == 1, "host name");
    }
}

std::map<std::string, std::string> ClientTls::facts() const {
    const X509* own = SSL_CTX_get0_certificate(identity_.get());
    if (own == nullptr) return {};
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    unsigned int size = 0;
    require(X509_digest(own, EVP_sha256(), digest.data(), &size) == 1, "fingerprint");
    return {{"certificate_sha256", base::to_hex({digest.data(), size})},
            {"certificate_end", time_text(X509_get0_notAfter(own))}};
}

}  // namespace kms
