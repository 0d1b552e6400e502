// Asking another service for a document: HTTPS GET, bounded in time and size. For keys of issuers
// and for token introspection. The HTTP library is in https_get.cpp only.
#pragma once

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "base/secret_bytes.h"

namespace server {

struct HttpsConfig {
    std::string url;           // https://host[:port][/path], without query and fragment
    std::filesystem::path ca;  // PEM: who may have signed the other side; empty: the system's
    std::chrono::milliseconds deadline{3000};  // of a whole exchange; looking up a name may add
    std::size_t max_bytes = 64UL * 1024;       // of an answer's body
};

struct HttpsAnswer {
    int status = 0;
    base::WipedString body;
};

// TLS 1.2 or newer, the certificate must be of the host. Redirects are not followed, nothing is
// decompressed; each call makes a connection. Thread-safe.
class HttpsGet {
public:
    // Throws invalid_argument for a URL that is none, or a CA file that holds none.
    explicit HttpsGet(HttpsConfig config);
    ~HttpsGet();
    HttpsGet(HttpsGet&&) noexcept;
    HttpsGet& operator=(HttpsGet&&) noexcept;

    // The answer to GET <url><more>, whatever its status. `bearer` (visible ASCII) goes into an
    // Authorization header unless it is empty. Throws unavailable when no whole answer came in
    // time, or a larger one. No message or detail holds the bearer or the body.
    HttpsAnswer get(std::string_view more = {}, std::string_view bearer = {}) const;

    const std::string& url() const;

private:
    struct Target;
    std::unique_ptr<Target> target_;
};

}  // namespace server
