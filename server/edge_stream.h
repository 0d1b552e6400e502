// Bytes of one connection, over TLS or, where the edge is a plain one, as they are. Private to
// server/edge*.cpp.
#pragma once

#include <cstddef>
#include <string>

#include "server/edge_tls.h"

namespace server {

// Works on a non-blocking socket that somebody else owns and never waits. After `ended` only
// handshake_failure() and the destructor may be called.
class Stream {
public:
    enum class Status { done, wants_read, wants_write, ended };

    // A null `ssl` means plain bytes.
    Stream(int socket, Ssl ssl) : socket_(socket), ssl_(std::move(ssl)) {}

    Status shake_hands();
    // Why the handshake ended, for the log.
    std::string handshake_failure() const;

    // `count` becomes the number of bytes, above zero, when the status is done.
    Status read(char* to, std::size_t space, std::size_t& count);
    Status write(const char* from, std::size_t size, std::size_t& count);

    // True when a read would give bytes that have left the socket already.
    bool has_pending() const { return ssl_ != nullptr && SSL_has_pending(ssl_.get()) == 1; }

    // Tells the peer that nothing more comes; its reply is not awaited.
    void say_goodbye();

    // Null for plain bytes.
    const SSL* ssl() const { return ssl_.get(); }
    // For another Stream on the same socket; this one is of no use any more.
    Ssl release() { return std::move(ssl_); }

private:
    Status after_failure(int result) const;

    int socket_;
    Ssl ssl_;
};

}  // namespace server
