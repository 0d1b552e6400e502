// A certificate authority of a test's own: makes P-256 certificates as PEM files at run time, good
// ones and every wrong kind. Nothing in here is for production.
#pragma once

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace tests {

// PEM files; the key has mode 0600.
struct CertificateFiles {
    std::filesystem::path certificate;
    std::filesystem::path key;
};

enum class CertificateUse { server, client, other };  // other: neither of both (code signing)

struct CertificateRequest {
    std::string name;  // common name, and the files' name: <name>.crt, <name>.key
    CertificateUse use = CertificateUse::client;
    std::vector<std::string> uri_names;  // subject alternative names of type URI
    bool expired = false;                // ended yesterday
    bool not_yet_valid = false;          // begins in an hour
};

// Not thread-safe. Throws std::runtime_error when OpenSSL refuses.
class TestPki {
public:
    // Writes ca.crt into `directory`, which is created when missing. The CA's key stays in memory.
    // A second TestPki in another directory is the "wrong CA".
    explicit TestPki(std::filesystem::path directory);
    ~TestPki();
    TestPki(const TestPki&) = delete;
    TestPki& operator=(const TestPki&) = delete;

    const std::filesystem::path& ca() const { return ca_; }

    // For 127.0.0.1, ::1 and localhost.
    CertificateFiles server(std::string_view name);
    // With one URI name, e.g. "spiffe://strongroom/app"; without any when `uri` is empty.
    CertificateFiles client(std::string_view name, std::string_view uri = {});
    CertificateFiles issue(const CertificateRequest& request);
    // Writes <name>.crl, a revocation list (RFC 5280 5) of this authority that names `revoked`;
    // its time is over when `expired`. Replaces what is there at once.
    std::filesystem::path revocation_list(std::string_view name,
                                          const std::vector<CertificateFiles>& revoked,
                                          bool expired = false,
                                          std::chrono::hours life = std::chrono::hours(24));

private:
    struct Authority;
    std::filesystem::path directory_;
    std::filesystem::path ca_;
    std::unique_ptr<Authority> authority_;
};

}  // namespace tests
