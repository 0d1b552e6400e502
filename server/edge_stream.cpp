#include "server/edge_stream.h"

#include <openssl/err.h>
#include <openssl/x509_vfy.h>
#include <sys/socket.h>

#include <cerrno>

namespace server {
namespace {

Stream::Status after_socket_failure(Stream::Status when_not_ready) {
    const bool not_ready = errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
    return not_ready ? when_not_ready : Stream::Status::ended;
}

}  // namespace

Stream::Status Stream::after_failure(int result) const {
    switch (SSL_get_error(ssl_.get(), result)) {
        case SSL_ERROR_WANT_READ:
            return Status::wants_read;
        case SSL_ERROR_WANT_WRITE:
            return Status::wants_write;
        default:
            return Status::ended;
    }
}

Stream::Status Stream::shake_hands() {
    if (ssl_ == nullptr) return Status::done;
    ERR_clear_error();
    const int result = SSL_do_handshake(ssl_.get());
    return result == 1 ? Status::done : after_failure(result);
}

std::string Stream::handshake_failure() const {
    const std::string general = take_tls_error();
    const long verified = ssl_ == nullptr ? X509_V_OK : SSL_get_verify_result(ssl_.get());
    if (verified != X509_V_OK) {
        return std::string("client certificate: ") + X509_verify_cert_error_string(verified);
    }
    return general.empty() ? "closed by the peer" : general;
}

Stream::Status Stream::read(char* to, std::size_t space, std::size_t& count) {
    count = 0;
    if (ssl_ != nullptr) {
        ERR_clear_error();
        const int result = SSL_read_ex(ssl_.get(), to, space, &count);
        return result == 1 ? Status::done : after_failure(result);
    }
    const auto size = ::recv(socket_, to, space, MSG_DONTWAIT);
    if (size < 0) return after_socket_failure(Status::wants_read);
    count = static_cast<std::size_t>(size);
    return size == 0 ? Status::ended : Status::done;
}

Stream::Status Stream::write(const char* from, std::size_t size, std::size_t& count) {
    count = 0;
    if (ssl_ != nullptr) {
        ERR_clear_error();
        const int result = SSL_write_ex(ssl_.get(), from, size, &count);
        return result == 1 ? Status::done : after_failure(result);
    }
    const auto sent = ::send(socket_, from, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0) return after_socket_failure(Status::wants_write);
    count = static_cast<std::size_t>(sent);
    return Status::done;
}

void Stream::say_goodbye() {
    if (ssl_ == nullptr) return;
    ERR_clear_error();
    SSL_shutdown(ssl_.get());
    ERR_clear_error();
}

}  // namespace server
