#include "server/edge_connection.h"

#include <openssl/err.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>

#include "base/error.h"

namespace server {

namespace {

using boost::asio::socket_base;

constexpr std::size_t head_chunk_bytes = 4096;
constexpr std::size_t body_chunk_bytes = 16UL * 1024;
// How long and how much is read and thrown away after a refusal, so that the peer gets to read the
// answer: closing on unread bytes would send a reset that may overtake it.
constexpr std::chrono::seconds linger_time{1};
constexpr std::size_t max_linger_bytes = 1024UL * 1024;

void release(base::WipedString& text) { base::WipedString().swap(text); }

base::Error too_slow() {
    return {base::ErrorCode::request_timeout, "the request did not arrive in time"};
}

}  // namespace

Connection::Connection(std::shared_ptr<Loop> loop, boost::asio::ip::tcp::socket socket, Ssl ssl,
                       ConnectionPlace place)
    : loop_(std::move(loop)),
      socket_(std::move(socket)),
      ssl_(std::move(ssl)),
      place_(std::move(place)) {}

void Connection::start() {
    deadline_ = Clock::now() + loop_->environment().config.handshake_deadline;
    drive(Next::wait_read);  // a TLS client speaks first
}

void Connection::drive(Next next) {
    try {
        for (;;) {
            switch (next) {
                case Next::again:
                    next = step();
                    break;
                case Next::wait_read:
                    return wait(socket_base::wait_read);
                case Next::wait_write:
                    return wait(socket_base::wait_write);
                case Next::rest:
                    return;
            }
        }
    } catch (const std::exception& error) {
        loop_->environment().log.error("a connection failed", {{"reason", error.what()}});
        close();
    }
}

void Connection::wait(socket_base::wait_type what) {
    const auto ticket = ++wait_ticket_;
    socket_.async_wait(what,
                       [self = shared_from_this(), ticket](const boost::system::error_code& error) {
                           if (ticket != self->wait_ticket_ || self->phase_ == Phase::closed)
                               return;
                           if (error) return self->close();
                           self->readable_ = true;
                           self->drive(Next::again);
                       });
}

void Connection::forget_wait() {
    ++wait_ticket_;
    boost::system::error_code ignored;
    socket_.cancel(ignored);
}

Connection::Next Connection::step() {
    switch (phase_) {
        case Phase::handshake:
            return shake_hands();
        case Phase::idle:
        case Phase::head:
            return read_head();
        case Phase::body:
            return read_body();
        case Phase::writing:
            return write();
        case Phase::lingering:
            return linger();
        case Phase::working:
        case Phase::closed:
            break;
    }
    return Next::rest;
}

Connection::Next Connection::shake_hands() {
    ERR_clear_error();
    const int result = SSL_do_handshake(ssl_.get());
    if (result != 1) {
        const int error = SSL_get_error(ssl_.get(), result);
        if (error == SSL_ERROR_WANT_READ) return Next::wait_read;
        if (error == SSL_ERROR_WANT_WRITE) return Next::wait_write;
        return refuse_handshake(take_tls_error());
    }
    try {
        certificate_ = read_peer_certificate(ssl_.get());
    } catch (const base::Error& error) {
        return refuse_handshake(error.message());
    }
    begin_idle();
    readable_ = true;  // the first request may have come together with the handshake's end
    return Next::again;
}

void Connection::begin_idle() {
    const EdgeConfig& config = loop_->environment().config;
    phase_ = Phase::idle;
    deadline_ = Clock::now() +
                (certificate_ ? config.idle_deadline
                              : std::min(config.idle_deadline, config.stranger_idle_deadline));
}

Connection::Next Connection::refuse_handshake(const std::string& reason) {
    const EdgeEnvironment& environment = loop_->environment();
    environment.metrics.count("tls_handshake_failures");
    if (const auto held_back = environment.log_throttle.pass(Clock::now())) {
        environment.log.info(
            "TLS handshake failed",
            {{"peer", place_->peer()},
             {"reason", reason.empty() ? std::string("closed by the peer") : reason},
             {"not_logged_before", static_cast<std::int64_t>(*held_back)}});
    }
    return begin_linger();
}

std::size_t Connection::read_some(char* to, std::size_t space, Next& next) {
    ERR_clear_error();
    std::size_t count = 0;
    const int result = SSL_read_ex(ssl_.get(), to, space, &count);
    if (result == 1) return count;
    readable_ = false;
    next = after_tls_failure(result);
    return 0;
}

Connection::Next Connection::after_tls_failure(int result) {
    switch (SSL_get_error(ssl_.get(), result)) {
        case SSL_ERROR_WANT_READ:
            return Next::wait_read;
        case SSL_ERROR_WANT_WRITE:
            return Next::wait_write;
        default:
            return closed();
    }
}

void Connection::begin_request() {
    const EdgeConfig& config = loop_->environment().config;
    const auto now = Clock::now();
    head_ = Head{};
    head_.request.peer_address = place_->peer();
    head_.request.certificate = certificate_;
    head_.request.received = now;
    searched_ = 0;
    body_bytes_ = 0;
    phase_ = Phase::head;
    request_deadline_ = now + config.request_deadline;
    deadline_ = std::min(now + config.head_deadline, request_deadline_);
}

Connection::Next Connection::read_head() {
    const std::size_t limit = loop_->environment().config.max_head_bytes;
    for (;;) {
        if (!input_.empty()) {
            if (phase_ == Phase::idle) begin_request();
            const auto end = input_.find("\r\n\r\n", searched_ < 3 ? 0 : searched_ - 3);
            if (end != base::WipedString::npos && end + 4 <= limit) return take_head(end + 4);
            searched_ = input_.size();
            if (searched_ >= limit) {
                return refuse(
                    {base::ErrorCode::header_fields_too_large,
                     "the request's head is larger than " + std::to_string(limit) + " bytes"});
            }
        } else if (!readable_ && SSL_has_pending(ssl_.get()) == 0) {
            return Next::wait_read;
        }
        const std::size_t before = input_.size();
        input_.resize(before + head_chunk_bytes);
        Next next = Next::again;
        const std::size_t count = read_some(input_.data() + before, head_chunk_bytes, next);
        if (phase_ == Phase::closed) return Next::rest;
        input_.resize(before + count);
        if (count == 0) {
            if (input_.empty()) release(input_);
            return next;
        }
    }
}

Connection::Next Connection::take_head(std::size_t head_bytes) {
    try {
        parse_head({input_.data(), head_bytes}, head_);
    } catch (const base::Error& error) {
        return refuse(error);
    }
    input_.erase(0, head_bytes);
    auto admitted = loop_->environment().handler.admit(head_.request);
    if (auto* refusal = std::get_if<Response>(&admitted)) {
        return answer(*refusal, head_.keep_alive && head_.content_length == 0);
    }
    const std::size_t limit = std::get<std::size_t>(admitted);
    if (head_.content_length > limit) {
        return refuse({base::ErrorCode::payload_too_large,
                       limit == 0 ? "this request takes no body"
                                  : "the body is larger than " + std::to_string(limit) + " bytes"});
    }
    body_bytes_ = std::min(input_.size(), head_.content_length);
    head_.request.body.assign(input_, 0, body_bytes_);
    input_.erase(0, body_bytes_);
    phase_ = Phase::body;
    deadline_ = request_deadline_;
    if (head_.expects_continue && body_bytes_ < head_.content_length) {
        output_ = "HTTP/1.1 100 Continue\r\n\r\n";
        written_ = 0;
        interim_ = true;
        phase_ = Phase::writing;
    }
    return Next::again;
}

Connection::Next Connection::read_body() {
    base::WipedString& body = head_.request.body;
    while (body_bytes_ < head_.content_length) {
        // Memory grows with what arrives, not with what the peer announces.
        const std::size_t room = std::max(body_chunk_bytes, 2 * body_bytes_);
        if (body.size() == body_bytes_) body.resize(std::min(head_.content_length, room));
        Next next = Next::again;
        const std::size_t count =
            read_some(body.data() + body_bytes_, body.size() - body_bytes_, next);
        if (count == 0) return next;
        body_bytes_ += count;
    }
    return call_handler();
}

Connection::Next Connection::call_handler() {
    if (input_.empty()) release(input_);
    phase_ = Phase::working;
    deadline_ = Clock::time_point::max();
    loop_->environment().handler.handle(
        std::move(head_.request), [self = shared_from_this()](Response response) {
            Loop& loop = *self->loop_;
            loop.post(
                [self, response = std::move(response)]() mutable { self->take_answer(response); });
        });
    return Next::rest;
}

void Connection::take_answer(const Response& response) {
    if (phase_ == Phase::working) drive(answer(response, head_.keep_alive));
}

Connection::Next Connection::answer(const Response& response, bool keep_alive) {
    keep_alive_ = keep_alive && !loop_->winding_down();
    output_ = serialize(response, keep_alive_, loop_->date());
    written_ = 0;
    phase_ = Phase::writing;
    deadline_ = Clock::now() + loop_->environment().config.request_deadline;
    return Next::again;
}

Connection::Next Connection::refuse(const base::Error& error) {
    release(head_.request.body);
    return answer(loop_->environment().handler.refuse(head_.request, error), false);
}

Connection::Next Connection::write() {
    while (written_ < output_.size()) {
        ERR_clear_error();
        std::size_t count = 0;
        const int result =
            SSL_write_ex(ssl_.get(), output_.data() + written_, output_.size() - written_, &count);
        if (result != 1) return after_tls_failure(result);
        written_ += count;
    }
    return finish_writing();
}

Connection::Next Connection::finish_writing() {
    release(output_);
    if (interim_) {
        interim_ = false;
        phase_ = Phase::body;
        return Next::again;
    }
    if (!keep_alive_) return begin_linger();
    begin_idle();
    readable_ = false;
    return Next::again;
}

Connection::Next Connection::begin_linger() {
    ERR_clear_error();
    SSL_shutdown(
        ssl_.get());  // tells the peer that the answer is complete; its reply is not awaited
    ERR_clear_error();
    boost::system::error_code ignored;
    socket_.shutdown(socket_base::shutdown_send, ignored);
    phase_ = Phase::lingering;
    deadline_ = Clock::now() + linger_time;
    lingered_bytes_ = 0;
    return Next::again;
}

Connection::Next Connection::linger() {
    std::array<char, 4096> thrown_away{};
    while (lingered_bytes_ < max_linger_bytes) {
        const auto count =
            ::recv(socket_.native_handle(), thrown_away.data(), thrown_away.size(), MSG_DONTWAIT);
        if (count < 0 && (errno == EAGAIN || errno == EINTR)) return Next::wait_read;
        if (count <= 0) break;
        lingered_bytes_ += static_cast<std::size_t>(count);
    }
    return closed();
}

void Connection::expire() {
    switch (phase_) {
        case Phase::head:
        case Phase::body:
            forget_wait();
            drive(refuse(too_slow()));
            return;
        case Phase::writing:
            loop_->environment().metrics.count("responses_not_taken");
            return close();
        case Phase::idle:
            ERR_clear_error();
            SSL_shutdown(ssl_.get());
            return close();
        case Phase::handshake:
            loop_->environment().metrics.count("tls_handshake_failures");
            return close();
        case Phase::lingering:
            return close();
        case Phase::working:
        case Phase::closed:
            return;
    }
}

void Connection::wind_down() {
    switch (phase_) {
        case Phase::idle:
            ERR_clear_error();
            SSL_shutdown(ssl_.get());
            return close();
        case Phase::handshake:
        case Phase::head:
        case Phase::body:  // nothing was done for it yet, so the caller may send it again elsewhere
        case Phase::lingering:
            return close();
        case Phase::writing:
            keep_alive_ = false;
            return;
        case Phase::working:
        case Phase::closed:
            return;
    }
}

Connection::Next Connection::closed() {
    close();
    return Next::rest;
}

void Connection::close() {
    if (phase_ == Phase::closed) return;
    phase_ = Phase::closed;
    ++wait_ticket_;
    deadline_ = Clock::time_point::max();
    const auto self = shared_from_this();  // remove() may drop the last other owner
    ssl_.reset();
    boost::system::error_code ignored;
    socket_.close(ignored);
    release(input_);
    release(output_);
    head_ = Head{};
    place_.reset();
    loop_->remove(*this);
}

}  // namespace server
