// Load for benches: a fixed number of keep-alive TLS connections that ask as fast as they are
// answered, or at a rate, from this process, at little cost (one thread, poll, no parsing beyond
// what must be).
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace tests {

struct LoadConfig {
    std::string address = "127.0.0.1";  // numeric IPv4
    std::uint16_t port = 0;
    std::filesystem::path ca;
    std::filesystem::path certificate;  // of the client; none when empty
    std::filesystem::path key;
    std::size_t connections = 16;
    std::size_t threads = 1;                   // connections are shared out among them
    std::chrono::milliseconds warm_up{300};    // not counted
    std::chrono::milliseconds duration{3000};  // counted
    // Requests per second of all connections together, each on its own beat; a request that can't
    // be sent on time because the one before it is not answered is counted from when it was due. 0:
    // as fast as they are answered.
    double rate = 0;
};

struct LoadResult {
    std::uint64_t answers = 0;  // with the expected status
    std::uint64_t errors = 0;   // other statuses, broken connections
    double seconds = 0;
    double per_second = 0;
    std::chrono::microseconds p50{};
    std::chrono::microseconds p99{};
    std::chrono::microseconds longest{};
    std::string first_error;  // what the first error was, for a human
};

// Gives the whole bytes of a connection's next request (see http_request). Called from the load's
// threads, for one connection from one thread at a time.
using RequestSource = std::function<std::string_view(std::size_t connection)>;

// Runs it. `expected_status` counts as an answer, anything else as an error. A connection that
// breaks is an error and is not opened again. Throws std::runtime_error when none can be opened.
LoadResult run_load(const LoadConfig& config, const RequestSource& source,
                    int expected_status = 200);

// Connections that have shaken hands, were served `request` once, and stay idle until this ends.
class IdleConnections {
public:
    // Opens config.connections of them. Throws std::runtime_error when one can't be opened.
    IdleConnections(const LoadConfig& config, std::string_view request);
    ~IdleConnections();
    IdleConnections(const IdleConnections&) = delete;
    IdleConnections& operator=(const IdleConnections&) = delete;

private:
    struct All;
    std::unique_ptr<All> all_;
};

// The bytes of a keep-alive request with a JSON body and a bearer (none when empty).
std::string http_request(std::string_view method, std::string_view path, std::string_view body = {},
                         std::string_view bearer = {});

// One line: rate, percentiles, errors.
std::string to_text(const LoadResult& result);

}  // namespace tests
