// Strongroom for C++ applications that keep their own database: what a column held in clear is
// sealed by the vault before it is written and opened after it is read. One header, with the
// standard library's types only, and one shared library; vault/node/strongroom.mjs is the same for
// Node. The application has a client certificate or a bearer, and no key of its own.
//
//   vault::ValueClient strongroom({.url = "https://vault.example:7444",
//                                  .ca = "pki/ca.crt",
//                                  .certificate = "pki/app.crt",
//                                  .key = "pki/app.key",
//                                  .context = "accounts.credentials"});
//   row.credentials = strongroom.encrypt_credentials(R"({"access_token":"…"})");
//   const vault::SecretText credentials = strongroom.decrypt_credentials(row.credentials);
//
// The context says where a value belongs (1 to 128 letters, digits and characters of ._-:@+=,~): it
// opens nowhere else. Name the row as well ("accounts:42") and a value moved to another row does
// not open either. Sealing what is sealed gives it back, with its data key wrapped anew when the
// master key was rotated. Values are any JSON of up to 64 KiB, as text.
#pragma once

#include <chrono>
#include <cstdint>
#include <exception>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#if defined(__GNUC__)
#define STRONGROOM_PUBLIC __attribute__((visibility("default")))
#else
#define STRONGROOM_PUBLIC
#endif

namespace vault {

// Text that is wiped when it is released. Move-only. Not thread-safe.
class STRONGROOM_PUBLIC SecretText {
public:
    SecretText() = default;
    explicit SecretText(std::string_view text);
    SecretText(SecretText&& other) noexcept;
    SecretText& operator=(SecretText&& other) noexcept;
    SecretText(const SecretText&) = delete;
    SecretText& operator=(const SecretText&) = delete;
    ~SecretText();

    // Valid as long as this object; not for keeping.
    std::string_view expose() const noexcept { return {text_.get(), size_}; }

private:
    std::unique_ptr<char[]> text_;
    std::size_t size_ = 0;
};

// Every failure. `code()` is the vault's word: integrity_failure (the value does not open: damaged,
// of another owner or context), permission_denied, unauthenticated, invalid_argument (also: a text
// that is no JSON, a file of the configuration), resource_exhausted, unavailable (also: no answer
// within the deadline, no connection, a server that is not trusted), internal … No message holds a
// value.
class STRONGROOM_PUBLIC ClientError : public std::exception {
public:
    ClientError(std::string code, std::string message, std::string detail = {})
        : code_(std::move(code)), message_(std::move(message)), detail_(std::move(detail)) {}
    const std::string& code() const noexcept { return code_; }
    const char* what() const noexcept override { return message_.c_str(); }
    // For a log: the answer's status and request id, or why there was no answer. May be empty.
    const std::string& detail() const noexcept { return detail_; }

private:
    std::string code_;
    std::string message_;
    std::string detail_;
};

struct ValueClientConfig {
    std::string url;            // https://host:port, nothing behind
    std::string socket{};       // go through this UNIX socket; url names the server still
    std::string ca{};           // PEM file: who signed the vault's certificate
    std::string certificate{};  // PEM file: the application's own
    std::string key{};          // PEM file; refused when others can read it
    std::string bearer_file{};  // beside or instead of certificate and key
    std::string context{};      // for calls that name none
    std::chrono::milliseconds deadline{5000};  // of each request, retries included
    std::size_t max_connections = 16;
};

struct SealedText {
    std::string value;  // JSON, to be kept
    std::string state;  // "sealed", "unchanged" or "rewrapped"
    std::string key_id;
    std::uint32_t key_version = 0;
};

struct OpenedText {
    SecretText value;     // JSON, what was sealed
    bool sealed = false;  // false: a plaintext that the vault let through
    bool reseal = false;  // seal() would give a value under a newer master key version
    std::string key_id;   // empty when it was not sealed
    std::uint32_t key_version = 0;
};

struct ValueItem {
    std::string_view value;    // JSON, or a sealed value
    std::string_view context;  // empty: the configuration's
};
using SealOneResult = std::variant<SealedText, ClientError>;
using OpenOneResult = std::variant<OpenedText, ClientError>;

// Thread-safe. Every function throws ClientError. A request that did not reach the vault, whose
// answer was lost or was a 503, is made again as long as the first half second of the call lasts,
// and no later: sealing and opening leave nothing behind. What lasts longer is unavailable, and for
// the caller to ask again.
class STRONGROOM_PUBLIC ValueClient {
public:
    // Reads the files; connects with the first call. Throws invalid_argument naming the field or
    // the file that is wrong.
    explicit ValueClient(ValueClientConfig config);
    ~ValueClient();
    ValueClient(const ValueClient&) = delete;
    ValueClient& operator=(const ValueClient&) = delete;

    // The sealed value, to be kept.
    std::string encrypt_credentials(std::string_view value, std::string_view context = {});
    // What was sealed.
    SecretText decrypt_credentials(std::string_view value, std::string_view context = {});

    SealedText seal(std::string_view value, std::string_view context = {});
    OpenedText open(std::string_view value, std::string_view context = {});

    // As many as you like, up to 100 in one request; one result for each, in order. Throws when a
    // request failed whole, and before any for a text that is no JSON.
    std::vector<SealOneResult> seal_many(const std::vector<ValueItem>& items);
    std::vector<OpenOneResult> open_many(const std::vector<ValueItem>& items);

    // Reads ca, certificate and key of the configuration anew, all or none, for who renews them
    // while the application runs. Throws invalid_argument naming the file that is wrong, and the
    // old ones stay in force. Afterwards every new connection has the new ones, idle connections
    // are closed, and a request that is under way ends on its own. The bearer is not read again.
    // Returns facts of the new certificate, for a log: certificate_sha256 and certificate_end
    // (RFC 3339); nothing where none is shown.
    std::map<std::string, std::string> reload_certificates();

private:
    struct Parts;
    std::unique_ptr<Parts> parts_;
};

}  // namespace vault
