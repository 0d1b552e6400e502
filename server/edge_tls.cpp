#include "server/edge_tls.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <vector>

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
constexpr std::size_t max_list_bytes = 16UL * 1024 * 1024;

using TimePoint = std::chrono::sys_seconds;
using List = std::unique_ptr<X509_CRL, decltype(&X509_CRL_free)>;

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

// OpenSSL reads a certificate's extensions when it first needs them, which may be in several
// handshakes at once: done here, nothing of what they share is written later.
void read_extensions(X509_STORE* store) {
    const STACK_OF(X509_OBJECT)* objects = X509_STORE_get0_objects(store);
    for (int i = 0; i < sk_X509_OBJECT_num(objects); ++i) {
        X509* certificate = X509_OBJECT_get0_X509(sk_X509_OBJECT_value(objects, i));
        if (certificate != nullptr) X509_check_purpose(certificate, -1, 0);
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
    read_extensions(SSL_CTX_get_cert_store(context));
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

// The end of time for a date that OpenSSL can't read or that says "never".
TimePoint to_time(const ASN1_TIME* time) {
    std::tm parts{};
    if (time == nullptr || ASN1_TIME_to_tm(time, &parts) != 1) return TimePoint::max();
    return TimePoint(std::chrono::seconds(timegm(&parts)));
}

std::string to_text(const ASN1_TIME* time) {
    std::tm parts{};
    if (time == nullptr || ASN1_TIME_to_tm(time, &parts) != 1) return "unknown";
    std::array<char, 32> text{};
    const std::size_t size = std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts);
    return {text.data(), size};
}

bool is_past(const ASN1_TIME* time) { return time != nullptr && X509_cmp_current_time(time) < 0; }

// A certificate outside its time would be refused by every client, and nobody here would know why.
void check_own_time(const X509* certificate, const EdgeConfig& config) {
    if (is_past(X509_get0_notAfter(certificate))) {
        refuse("TLS certificate: " + config.certificate.string() + " ended at " +
               to_text(X509_get0_notAfter(certificate)) + ": get a new one");
    }
    if (!is_past(X509_get0_notBefore(certificate))) {
        refuse("TLS certificate: " + config.certificate.string() + " begins only at " +
               to_text(X509_get0_notBefore(certificate)) + ": check the clock");
    }
}

std::vector<List> read_lists(const std::filesystem::path& file) {
    std::string text;
    check_file("revocation list", [&] { text = base::read_trusted_file(file, max_list_bytes); });
    const std::unique_ptr<BIO, decltype(&BIO_free)> in(
        BIO_new_mem_buf(text.data(), static_cast<int>(text.size())), &BIO_free);
    std::vector<List> lists;
    while (in != nullptr) {
        List list(PEM_read_bio_X509_CRL(in.get(), nullptr, nullptr, nullptr), &X509_CRL_free);
        if (list == nullptr) break;
        lists.push_back(std::move(list));
    }
    // What ends a file is no error, a broken list in it is.
    const bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    if (lists.empty() || !at_end) {
        refuse("revocation list: " + file.string() + " holds no PEM list that can be read");
    }
    ERR_clear_error();
    return lists;
}

void check_list(const X509_CRL* list, const std::filesystem::path& file) {
    const std::string name = "revocation list: " + file.string();
    const ASN1_TIME* next = X509_CRL_get0_nextUpdate(list);
    if (next == nullptr) refuse(name + " does not say when the next one comes (nextUpdate)");
    if (is_past(next)) refuse(name + " ended at " + to_text(next) + ": get a fresh one");
    if (!is_past(X509_CRL_get0_lastUpdate(list))) {
        refuse(name + " begins only at " + to_text(X509_CRL_get0_lastUpdate(list)) +
               ": check the clock");
    }
}

// Each authority of client_ca needs a list that it signed: without one OpenSSL would refuse all of
// its certificates, one handshake after the other.
void require_list_of_each_authority(const EdgeConfig& config, const std::vector<List>& lists) {
    const std::unique_ptr<BIO, decltype(&BIO_free)> in(BIO_new_file(config.client_ca.c_str(), "r"),
                                                       &BIO_free);
    while (in != nullptr) {
        const std::unique_ptr<X509, decltype(&X509_free)> authority(
            PEM_read_bio_X509(in.get(), nullptr, nullptr, nullptr), &X509_free);
        if (authority == nullptr) break;
        const bool found = std::any_of(lists.begin(), lists.end(), [&](const List& list) {
            return X509_NAME_cmp(X509_CRL_get_issuer(list.get()),
                                 X509_get_subject_name(authority.get())) == 0 &&
                   X509_CRL_verify(list.get(), X509_get0_pubkey(authority.get())) == 1;
        });
        ERR_clear_error();
        if (!found) {
            refuse("revocation list: none of client_crl is signed by " +
                   subject_of(authority.get()));
        }
    }
    ERR_clear_error();
}

void load_lists(Tls& tls, const EdgeConfig& config) {
    if (config.client_crl.empty()) return;
    X509_STORE* store = SSL_CTX_get_cert_store(tls.context.get());
    std::vector<List> all;
    std::size_t revoked = 0;
    for (const auto& file : config.client_crl) {
        for (auto& list : read_lists(file)) {
            check_list(list.get(), file);
            const TimePoint end = to_time(X509_CRL_get0_nextUpdate(list.get()));
            if (end < tls.lists_end) {
                tls.lists_end = end;
                tls.facts["lists_end"] = to_text(X509_CRL_get0_nextUpdate(list.get()));
            }
            const int entries = sk_X509_REVOKED_num(X509_CRL_get_REVOKED(list.get()));
            if (entries > 0) revoked += static_cast<std::size_t>(entries);
            if (X509_STORE_add_crl(store, list.get()) != 1) {
                refuse("revocation list: " + file.string() + " can't be used");
            }
            all.push_back(std::move(list));
        }
    }
    require_list_of_each_authority(config, all);
    X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
    tls.facts["revoked"] = std::to_string(revoked);
}

void note_own_certificate(Tls& tls, const EdgeConfig& config) {
    const X509* own = SSL_CTX_get0_certificate(tls.context.get());
    check_own_time(own, config);
    tls.certificate_end = to_time(X509_get0_notAfter(own));
    tls.facts["certificate_sha256"] = fingerprint_of(own);
    tls.facts["certificate_end"] = to_text(X509_get0_notAfter(own));
}

}  // namespace

std::shared_ptr<const Tls> load_tls(const EdgeConfig& config) {
    ERR_clear_error();
    const auto tls = std::make_shared<Tls>();
    tls->context.reset(SSL_CTX_new(TLS_server_method()));
    if (tls->context == nullptr) refuse("OpenSSL gives no TLS context");
    set_protocol(tls->context.get(), config.minimum_version);
    load_own_certificate(tls->context.get(), config);
    note_own_certificate(*tls, config);
    load_client_authority(tls->context.get(), config);
    load_lists(*tls, config);
    return tls;
}

std::optional<PeerCertificate> read_peer_certificate(const SSL* ssl) {
    const std::unique_ptr<X509, decltype(&X509_free)> certificate(SSL_get1_peer_certificate(ssl),
                                                                  &X509_free);
    if (certificate == nullptr) return std::nullopt;
    return PeerCertificate{subject_of(certificate.get()), uri_names_of(certificate.get()),
                           fingerprint_of(certificate.get())};
}

TimePoint holds_until(const SSL* ssl, const Tls& tls) {
    TimePoint end = tls.lists_end;
    const std::unique_ptr<X509, decltype(&X509_free)> certificate(SSL_get1_peer_certificate(ssl),
                                                                  &X509_free);
    if (certificate == nullptr) return TimePoint::max();
    end = std::min(end, to_time(X509_get0_notAfter(certificate.get())));
    const STACK_OF(X509)* chain = SSL_get0_verified_chain(ssl);
    for (int i = 0; i < sk_X509_num(chain); ++i) {
        end = std::min(end, to_time(X509_get0_notAfter(sk_X509_value(chain, i))));
    }
    return end;
}

std::string judge_again(const SSL* ssl, const Tls& tls, TimePoint now) {
    ERR_clear_error();
    const std::unique_ptr<X509, decltype(&X509_free)> certificate(SSL_get1_peer_certificate(ssl),
                                                                  &X509_free);
    const std::unique_ptr<X509_STORE_CTX, decltype(&X509_STORE_CTX_free)> judge(
        X509_STORE_CTX_new(), &X509_STORE_CTX_free);
    // The same as a handshake does: ssl_verify_cert_chain in OpenSSL.
    if (judge == nullptr ||
        X509_STORE_CTX_init(judge.get(), SSL_CTX_get_cert_store(tls.context.get()),
                            certificate.get(), SSL_get_peer_cert_chain(ssl)) != 1 ||
        X509_STORE_CTX_set_default(judge.get(), "ssl_client") != 1 ||
        X509_VERIFY_PARAM_set1(X509_STORE_CTX_get0_param(judge.get()),
                               SSL_CTX_get0_param(tls.context.get())) != 1) {
        return "it can't be judged: " + take_tls_error();
    }
    X509_STORE_CTX_set_time(judge.get(), 0, std::chrono::system_clock::to_time_t(now));
    if (X509_verify_cert(judge.get()) == 1) return {};
    const int why = X509_STORE_CTX_get_error(judge.get());
    ERR_clear_error();
    return X509_verify_cert_error_string(why);
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
