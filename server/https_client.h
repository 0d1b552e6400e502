// Asking another service, by HTTPS, bounded in time and size: keys of issuers, token introspection
// and what else a daemon is configured to ask. Where it goes is the configuration's: no address
// that came with a request may get here. The HTTP library is in https_client.cpp only.
#pragma once

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "base/secret_bytes.h"
#include "server/request.h"

namespace server {

struct HttpsConfig {
    std::string url;           // https://host[:port][/path], without query and fragment
    std::filesystem::path ca;  // PEM: who may have signed the other side; empty: the system's
    std::chrono::milliseconds deadline{3000};  // of a whole exchange, looking up the name included
    std::size_t max_bytes = 64UL * 1024;       // of an answer's body
};

// Views of what the caller keeps until the answer is there.
struct HttpsRequest {
    Method method = Method::GET;
    std::string_view more{};  // follows the URL's path without a slash at its end; visible ASCII
    std::string_view authorization{};  // the header's value, in visible ASCII and blanks; or empty
    std::string_view content_type{};   // of the body, likewise
    std::string_view body{};
    // When the caller has no more time, if that is before the configuration's deadline.
    std::chrono::steady_clock::time_point until = std::chrono::steady_clock::time_point::max();
};

struct HttpsAnswer {
    int status = 0;
    base::WipedString body;
};

// TLS 1.2 or newer, the certificate must be of the host. Redirects are not followed, nothing is
// decompressed; each call makes a connection. A name is looked up by a thread of its own, one at a
// time, which may outlive the object: the system's resolver can't be broken off. Thread-safe.
class HttpsClient {
public:
    // Throws invalid_argument for a URL that is none, or a CA file that holds none.
    explicit HttpsClient(HttpsConfig config);
    ~HttpsClient();
    HttpsClient(HttpsClient&&) noexcept;
    HttpsClient& operator=(HttpsClient&&) noexcept;

    // The answer, whatever its status. Throws unavailable when no whole one came in time, or a
    // larger one; invalid_argument for what can't stand in a head. No message or detail holds
    // anything of the request or of a body.
    HttpsAnswer send(const HttpsRequest& wanted) const;

    // The answer to GET <url><more>. `bearer` (visible ASCII) goes into an Authorization header
    // unless it is empty. Errors as above.
    HttpsAnswer get(std::string_view more = {}, std::string_view bearer = {}) const;

    // For the end of a program: what is under way ends now, and what begins later ends at once,
    // both with unavailable.
    void cancel() const noexcept;

    const std::string& url() const;

private:
    struct Target;
    HttpsAnswer exchange(const HttpsRequest& wanted) const;
    std::unique_ptr<Target> target_;
};

}  // namespace server
