#include "tests/support/test_pki.h"

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <cstdio>
#include <stdexcept>

namespace tests {

namespace {

constexpr long day_seconds = 24L * 60 * 60;

using Key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;
using Certificate = std::unique_ptr<X509, decltype(&X509_free)>;
using File = std::unique_ptr<std::FILE, decltype(&std::fclose)>;

void require_made(bool good, const char* what) {
    if (!good) throw std::runtime_error(std::string("test PKI: ") + what);
}

Key new_key() {
    Key key(EVP_PKEY_Q_keygen(nullptr, nullptr, "EC", "P-256"), &EVP_PKEY_free);
    require_made(key != nullptr, "key generation failed");
    return key;
}

void add_extension(X509* certificate, X509* issuer, int nid, const std::string& value) {
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
    std::unique_ptr<X509_EXTENSION, decltype(&X509_EXTENSION_free)> extension(
        X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str()), &X509_EXTENSION_free);
    require_made(extension != nullptr, value.c_str());
    require_made(X509_add_ext(certificate, extension.get(), -1) == 1, value.c_str());
}

// A certificate with names, times and key set, not yet signed. Null `issuer`: self-issued.
Certificate new_certificate(const std::string& name, EVP_PKEY* key, X509* issuer, bool expired) {
    Certificate certificate(X509_new(), &X509_free);
    require_made(certificate != nullptr, "no memory");
    require_made(X509_set_version(certificate.get(), X509_VERSION_3) == 1, "version");

    std::unique_ptr<BIGNUM, decltype(&BN_free)> serial(BN_new(), &BN_free);
    require_made(BN_rand(serial.get(), 127, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) == 1, "serial");
    BN_to_ASN1_INTEGER(serial.get(), X509_get_serialNumber(certificate.get()));

    X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -2 * day_seconds);
    X509_gmtime_adj(X509_getm_notAfter(certificate.get()), expired ? -day_seconds : day_seconds);
    require_made(X509_set_pubkey(certificate.get(), key) == 1, "public key");

    X509_NAME* subject = X509_get_subject_name(certificate.get());
    const auto add = [subject](const char* field, const std::string& value) {
        const int done = X509_NAME_add_entry_by_txt(
            subject, field, MBSTRING_UTF8, reinterpret_cast<const unsigned char*>(value.c_str()),
            -1, -1, 0);
        require_made(done == 1, "subject");
    };
    add("O", "Strongroom test");
    add("CN", name);
    X509* parent = issuer != nullptr ? issuer : certificate.get();
    require_made(X509_set_issuer_name(certificate.get(), X509_get_subject_name(parent)) == 1,
                 "issuer");
    return certificate;
}

void sign(X509* certificate, EVP_PKEY* key) {
    require_made(X509_sign(certificate, key, EVP_sha256()) > 0, "signature");
}

File open_file(const std::filesystem::path& path) {
    File file(std::fopen(path.c_str(), "we"), &std::fclose);
    require_made(file != nullptr, path.c_str());
    return file;
}

void write_certificate(const std::filesystem::path& path, X509* certificate) {
    const File file = open_file(path);
    // Whatever the umask: a certificate authority that others may write is refused.
    std::filesystem::permissions(path, static_cast<std::filesystem::perms>(0644));
    require_made(PEM_write_X509(file.get(), certificate) == 1, path.c_str());
}

void write_key(const std::filesystem::path& path, EVP_PKEY* key) {
    const File file = open_file(path);
    std::filesystem::permissions(
        path, std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
    require_made(PEM_write_PrivateKey(file.get(), key, nullptr, nullptr, 0, nullptr, nullptr) == 1,
                 path.c_str());
}

std::string usage_of(CertificateUse use) {
    switch (use) {
        case CertificateUse::server:
            return "serverAuth";
        case CertificateUse::client:
            return "clientAuth";
        case CertificateUse::other:
            return "codeSigning";
    }
    return {};
}

}  // namespace

struct TestPki::Authority {
    Key key = new_key();
    Certificate certificate = new_certificate("Test CA", key.get(), nullptr, false);
};

TestPki::TestPki(std::filesystem::path directory)
    : directory_(std::move(directory)),
      ca_(directory_ / "ca.crt"),
      authority_(std::make_unique<Authority>()) {
    std::filesystem::create_directories(directory_);
    X509* certificate = authority_->certificate.get();
    add_extension(certificate, certificate, NID_basic_constraints, "critical,CA:TRUE,pathlen:0");
    add_extension(certificate, certificate, NID_key_usage, "critical,keyCertSign,cRLSign");
    add_extension(certificate, certificate, NID_subject_key_identifier, "hash");
    sign(certificate, authority_->key.get());
    write_certificate(ca_, certificate);
}

TestPki::~TestPki() = default;

CertificateFiles TestPki::server(std::string_view name) {
    return issue({std::string(name), CertificateUse::server, {}, false});
}

CertificateFiles TestPki::client(std::string_view name, std::string_view uri) {
    CertificateRequest request{std::string(name), CertificateUse::client, {}, false};
    if (!uri.empty()) request.uri_names.emplace_back(uri);
    return issue(request);
}

CertificateFiles TestPki::issue(const CertificateRequest& request) {
    X509* issuer = authority_->certificate.get();
    const Key key = new_key();
    const Certificate certificate =
        new_certificate(request.name, key.get(), issuer, request.expired);
    if (request.not_yet_valid) {
        X509_gmtime_adj(X509_getm_notBefore(certificate.get()), day_seconds / 24);
    }
    add_extension(certificate.get(), issuer, NID_basic_constraints, "critical,CA:FALSE");
    add_extension(certificate.get(), issuer, NID_key_usage, "critical,digitalSignature");
    add_extension(certificate.get(), issuer, NID_ext_key_usage, usage_of(request.use));
    add_extension(certificate.get(), issuer, NID_subject_key_identifier, "hash");
    add_extension(certificate.get(), issuer, NID_authority_key_identifier, "keyid");

    std::string names;
    if (request.use == CertificateUse::server) names = "DNS:localhost,IP:127.0.0.1,IP:::1";
    for (const std::string& uri : request.uri_names)
        names += (names.empty() ? "URI:" : ",URI:") + uri;
    if (!names.empty()) add_extension(certificate.get(), issuer, NID_subject_alt_name, names);
    sign(certificate.get(), authority_->key.get());

    const CertificateFiles files{directory_ / (request.name + ".crt"),
                                 directory_ / (request.name + ".key")};
    write_certificate(files.certificate, certificate.get());
    write_key(files.key, key.get());
    return files;
}

std::filesystem::path TestPki::revocation_list(std::string_view name,
                                               const std::vector<CertificateFiles>& revoked,
                                               bool expired, std::chrono::hours life) {
    const std::unique_ptr<X509_CRL, decltype(&X509_CRL_free)> list(X509_CRL_new(), &X509_CRL_free);
    const std::unique_ptr<ASN1_TIME, decltype(&ASN1_TIME_free)> time(ASN1_TIME_new(),
                                                                     &ASN1_TIME_free);
    require_made(list != nullptr && time != nullptr, "no memory");
    X509_CRL_set_version(list.get(), X509_CRL_VERSION_2);
    X509_CRL_set_issuer_name(list.get(), X509_get_subject_name(authority_->certificate.get()));
    X509_gmtime_adj(time.get(), -2 * day_seconds);
    X509_CRL_set1_lastUpdate(list.get(), time.get());
    for (const auto& files : revoked) {
        const File file(std::fopen(files.certificate.c_str(), "re"), &std::fclose);
        require_made(file != nullptr, files.certificate.c_str());
        const Certificate certificate(PEM_read_X509(file.get(), nullptr, nullptr, nullptr),
                                      &X509_free);
        X509_REVOKED* entry = X509_REVOKED_new();
        require_made(certificate != nullptr && entry != nullptr, "revoked certificate");
        X509_REVOKED_set_serialNumber(entry, X509_get_serialNumber(certificate.get()));
        X509_REVOKED_set_revocationDate(entry, time.get());
        require_made(X509_CRL_add0_revoked(list.get(), entry) == 1, "revoked certificate");
    }
    X509_gmtime_adj(time.get(), expired ? -day_seconds : std::chrono::seconds(life).count());
    X509_CRL_set1_nextUpdate(list.get(), time.get());
    X509_CRL_sort(list.get());
    require_made(X509_CRL_sign(list.get(), authority_->key.get(), EVP_sha256()) > 0, "signature");

    const std::filesystem::path path = directory_ / (std::string(name) + ".crl");
    const std::filesystem::path fresh = path.string() + ".new";
    {
        const File file = open_file(fresh);
        std::filesystem::permissions(fresh, static_cast<std::filesystem::perms>(0644));
        require_made(PEM_write_X509_CRL(file.get(), list.get()) == 1, path.c_str());
    }
    std::filesystem::rename(fresh, path);
    return path;
}

}  // namespace tests
