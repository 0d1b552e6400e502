#include "kms/client/buffered_client.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>

#include "base/secret_bytes.h"
#include "base/stack.h"

namespace kms {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// Holds the head and the body of what is sent and received by most calls. Bodies carry secrets:
// what was used of it is wiped.
class Buffer {
public:
    Buffer() = default;
    ~Buffer() { base::wipe(bytes_.data(), used_); }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;

    static constexpr std::size_t size = 8192;

    std::size_t held() const { return end_ - begin_; }
    std::size_t room() const { return size - end_; }
    const char* data() const { return bytes_.data() + begin_; }

    void append(const char* data, std::size_t count) {
        std::memcpy(bytes_.data() + end_, data, count);
        end_ += count;
        used_ = std::max(used_, end_);
    }
    std::size_t take(char* to, std::size_t at_most) {
        const std::size_t count = std::min(at_most, held());
        std::memcpy(to, data(), count);
        begin_ += count;
        return count;
    }
    void clear() { begin_ = end_ = 0; }
    // For who writes into all of it, and then says how much.
    char* whole() { return bytes_.data(); }
    void filled(std::size_t count) {
        begin_ = 0;
        end_ = count;
        used_ = std::max(used_, end_);
    }

private:
    std::array<char, size> bytes_;  // not filled with anything first
    std::size_t begin_ = 0;
    std::size_t end_ = 0;
    std::size_t used_ = 0;
};

// A request is sent when its answer is asked for, in one piece where it fits.
class BufferedStream : public httplib::Stream {
public:
    BufferedStream(SSL* ssl, socket_t socket, steady_clock::time_point deadline)
        : ssl_(ssl), socket_(socket), deadline_(deadline) {}

    // What can't be read or written fails when it is tried, by the deadline.
    bool is_readable() const override { return true; }
    bool is_writable() const override { return true; }

    ssize_t read(char* to, std::size_t size) override {
        if (in_.held() == 0) {
            if (!flush()) return failed;
            if (size >= Buffer::size) return receive(to, size);
            const ssize_t count = receive(in_.whole(), Buffer::size);
            if (count <= 0) return count;
            in_.filled(static_cast<std::size_t>(count));
        }
        return static_cast<ssize_t>(in_.take(to, size));
    }

    ssize_t write(const char* data, std::size_t size) override {
        if (size > out_.room() && !flush()) return failed;
        if (size > out_.room()) return send(data, size) ? static_cast<ssize_t>(size) : failed;
        out_.append(data, size);
        return static_cast<ssize_t>(size);
    }

    bool has_held() const { return in_.held() > 0; }

    socket_t socket() const override { return socket_; }
    // For servers; the library's client has no use for them.
    void get_remote_ip_and_port(std::string&, int&) const override {}
    void get_local_ip_and_port(std::string&, int&) const override {}

private:
    static constexpr ssize_t failed = -1;

    bool flush() {
        const bool fine = out_.held() == 0 || send(out_.data(), out_.held());
        out_.clear();
        return fine;
    }

    bool send(const char* data, std::size_t size) {
        std::size_t count = 0;
        for (;;) {
            ERR_clear_error();
            const int result = SSL_write_ex(ssl_, data, size, &count);
            if (result == 1) return true;  // all of it: partial writes are off
            if (!wait_for(SSL_get_error(ssl_, result))) return false;
        }
    }

    // 0 at the end of what the server sends.
    ssize_t receive(char* to, std::size_t size) {
        std::size_t count = 0;
        for (;;) {
            ERR_clear_error();
            const int result = SSL_read_ex(ssl_, to, size, &count);
            if (result == 1) return static_cast<ssize_t>(count);
            const int reason = SSL_get_error(ssl_, result);
            if (reason == SSL_ERROR_ZERO_RETURN) return 0;
            if (!wait_for(reason)) return failed;
        }
    }

    // The library's socket waits by itself, for as long as its timeouts allowed when it was
    // connected. False when this can't go on, or not before the deadline.
    bool wait_for(int reason) const {
        if (reason != SSL_ERROR_WANT_READ && reason != SSL_ERROR_WANT_WRITE) return false;
        const auto left = std::chrono::ceil<milliseconds>(deadline_ - steady_clock::now()).count();
        if (left <= 0) return false;
        const short events = reason == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT;
        pollfd entry{socket_, events, 0};
        constexpr decltype(left) longest = std::numeric_limits<int>::max();
        return ::poll(&entry, 1, static_cast<int>(std::min(left, longest))) != 0;
    }

    SSL* ssl_;
    socket_t socket_;
    steady_clock::time_point deadline_;
    Buffer out_;
    Buffer in_;
};

}  // namespace

bool BufferedExchange::run(SSL* ssl, socket_t socket, ExchangeDeadline deadline,
                           const Exchange& exchange, bool& has_held) {
    BufferedStream stream(ssl, socket, deadline);
    const base::StackWiped wiped;  // the library reads bodies through a buffer there
    const bool fine = exchange(stream);
    has_held = stream.has_held();
    return fine;
}

}  // namespace kms
