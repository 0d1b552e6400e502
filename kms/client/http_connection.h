// One kept-alive HTTPS connection. The HTTP library is known behind it only; nothing of it is
// visible here, since its classes change size with the macros they are compiled with.
#pragma once

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "kms/client/client.h"
#include "kms/client/tls.h"

namespace kms {

using Deadline = std::chrono::steady_clock::time_point;

struct Endpoint {
    std::string host;  // a name or an IP address, without brackets
    int port = 0;
    // When not empty the connection goes to this UNIX socket; the host is still the name that the
    // server's certificate must carry.
    std::filesystem::path socket{};
};

struct HttpRequest {
    std::string method;
    std::string path;
    std::string_view body;  // must outlive the exchange
    std::vector<std::pair<std::string, std::string>> headers;
    std::string_view bearer{};  // sent as Authorization unless empty; must outlive the exchange
    bool repeatable = false;    // doing it twice is doing it once
    std::size_t max_answer_bytes = 0;
};

// Why no answer came. `reason` is for the log.
struct NoAnswer {
    enum class Kind {
        not_sent,   // surely never arrived
        lost,       // may have arrived and been done
        untrusted,  // the server is not the one it should be; trying again is no use
        too_large,  // an answer beyond max_answer_bytes
    };
    Kind kind = Kind::lost;
    std::string reason;
};

// exchange() is for one thread at a time; interrupt() for any thread at any time.
class HttpConnection {
public:
    HttpConnection(const Endpoint& endpoint, std::shared_ptr<const ClientTls> tls,
                   std::chrono::milliseconds connect_timeout);
    ~HttpConnection();
    HttpConnection(const HttpConnection&) = delete;
    HttpConnection& operator=(const HttpConnection&) = delete;

    // Connects when there is no usable connection, sends once, reads the whole answer. The
    // library's timeouts bound each step; the whole is bounded by whoever calls interrupt() at the
    // deadline. Throws nothing but std::bad_alloc.
    std::variant<Answer, NoAnswer> exchange(const HttpRequest& request, Deadline deadline);

    // Whether it was made with `tls` and no other.
    bool is_made_with(const ClientTls& tls) const noexcept { return tls_.get() == &tls; }

    // Breaks the exchange under way, if any: it ends with NoAnswer.
    void interrupt() noexcept;

private:
    struct Http;
    std::shared_ptr<const ClientTls> tls_;
    std::unique_ptr<Http> http_;
};

}  // namespace kms
