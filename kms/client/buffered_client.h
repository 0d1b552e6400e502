// cpp-httplib's HTTPS client with buffers under it. The library reads an answer's head byte by byte
// and sends a request in pieces, each through TLS: as records and calls of their own they were a
// third of what an exchange costs. For http_connection.cpp alone, since it shows the library; no
// HTTP belongs here.
#pragma once

#include <httplib.h>

#include <chrono>
#include <functional>

namespace kms {

// For one thread at a time, but that shutting its socket down ends an exchange from any thread.
class BufferedClient : public httplib::SSLClient {
public:
    using httplib::SSLClient::SSLClient;

    // No read or write of the exchanges from now on waits beyond it.
    void set_deadline(std::chrono::steady_clock::time_point deadline) { deadline_ = deadline; }

    // Whether the server sent more than the answer of the exchange that ended. Whose answer that
    // would be nobody knows: such a connection must be stopped.
    bool has_unread() const { return has_unread_; }

private:
    // The library's seam: `exchange` writes one request and reads its answer.
    bool process_socket(const Socket& socket,
                        std::function<bool(httplib::Stream&)> exchange) override;

    std::chrono::steady_clock::time_point deadline_;
    bool has_unread_ = false;
};

}  // namespace kms
