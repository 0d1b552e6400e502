// cpp-httplib's HTTPS client with buffers under it. The library reads an answer's head byte by byte
// and sends a request in pieces, each a call into TLS. For http_connection.cpp alone, since it
// shows the library; no HTTP belongs here.
//
// Release 0.18 (Debian 13) lets nobody derive from its client, and looks for an answer before ours
// would have sent the request: there the client is the library's own, without these buffers.
#pragma once

#include <httplib.h>

#include <chrono>
#include <functional>
#include <type_traits>

namespace kms {

using ExchangeDeadline = std::chrono::steady_clock::time_point;

// One exchange after the other on streams with buffers. One thread at a time.
class BufferedExchange {
public:
    using Exchange = std::function<bool(httplib::Stream&)>;
    // What `exchange` returns, given a stream over `ssl`, which is `socket`'s. The library may free
    // `ssl` within: `is_open` says afterwards whether it is there still.
    template <typename IsOpen>
    bool run(SSL* ssl, socket_t socket, ExchangeDeadline deadline, const Exchange& exchange,
             IsOpen is_open) {
        has_unread_ = true;  // until it is known: an exception leaves it so
        bool has_held = false;
        const bool fine = run(ssl, socket, deadline, exchange, has_held);
        has_unread_ = is_open() && (has_held || SSL_has_pending(ssl) == 1);
        return fine;
    }
    bool has_unread() const { return has_unread_; }

private:
    static bool run(SSL* ssl, socket_t socket, ExchangeDeadline deadline, const Exchange& exchange,
                    bool& has_held);

    bool has_unread_ = false;
};

// For one thread at a time, but that shutting its socket down ends an exchange from any thread.
template <typename Library>
class BufferedClient : public Library {
public:
    using Library::Library;

    // No read or write of the exchanges from now on waits beyond it.
    void set_deadline(ExchangeDeadline deadline) { deadline_ = deadline; }

    // Whether the server sent more than the answer of the exchange that ended, or may have. Whose
    // answer that would be nobody knows: such a connection must be stopped.
    bool has_unread() const { return exchange_.has_unread(); }

private:
    // The library's seam: `exchange` writes one request, reads its answer, and closes the
    // connection where the answer says so.
    bool process_socket(const typename Library::Socket& socket,
                        BufferedExchange::Exchange exchange) override {
        return exchange_.run(socket.ssl, socket.sock, deadline_, exchange,
                             [&socket] { return socket.ssl != nullptr; });
    }

    ExchangeDeadline deadline_;
    BufferedExchange exchange_;
};

inline constexpr bool may_be_buffered = !std::is_final_v<httplib::SSLClient>;
using HttpsClient =
    std::conditional_t<may_be_buffered, BufferedClient<httplib::SSLClient>, httplib::SSLClient>;

// The same for both.
inline void set_deadline(httplib::SSLClient& /*client*/, ExchangeDeadline /*deadline*/) {}
template <typename Library>
void set_deadline(BufferedClient<Library>& client, ExchangeDeadline deadline) {
    client.set_deadline(deadline);
}
inline bool has_unread(const httplib::SSLClient& /*client*/) { return false; }
template <typename Library>
bool has_unread(const BufferedClient<Library>& client) {
    return client.has_unread();
}

}  // namespace kms
