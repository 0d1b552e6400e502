#include "server/edge_connection.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>

#include "base/error.h"

namespace server {

namespace {

using boost::asio::socket_base;

// How long and how much is read and thrown away after a refusal, so that the peer gets to read the
// answer: closing on unread bytes would send a reset that may overtake it.
constexpr std::chrono::seconds linger_time{1};
constexpr std::size_t max_linger_bytes = 32UL * 1024 * 1024;  // the largest body there is

void release(base::WipedString& text) { base::WipedString().swap(text); }

base::Error too_slow() {
    return {base::ErrorCode::request_timeout, "the request did not arrive in time"};
}

base::Error no_place() {
    return {base::ErrorCode::unavailable, "too many connections: try again later"};
}

base::Error stopping() {
    return {base::ErrorCode::unavailable, "the service is stopping: try again"};
}

}  // namespace

Connection::Connection(std::shared_ptr<Loop> loop, Socket socket, Ssl ssl, ConnectionPlace place,
                       Peer peer)
    : loop_(std::move(loop)),
      socket_(std::move(socket)),
      stream_(std::in_place, socket_.native_handle(), std::move(ssl)),
      place_(std::move(place)),
      peer_(std::move(peer)),
      judged_by_(loop_->tls_generation()),
      reader_(loop_->environment().config.max_head_bytes) {}

void Connection::start() {
    if (stream_->ssl() == nullptr) {
        begin_idle();
    } else {
        deadline_ = Clock::now() + loop_->environment().config.handshake_deadline;
    }
    drive(Next::wait_read);  // a client speaks first, with TLS or without
}

void Connection::drive(Next next) {
    drive_from([next] { return next; });
}

// What fails is this connection's trouble alone.
template <typename Begin>
void Connection::drive_from(Begin begin) {
    try {
        Next next = begin();
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
        const auto self = shared_from_this();  // close() may drop the last other owner
        close();
        loop_->tell_failure(error);
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
    const Stream::Status status = stream_->shake_hands();
    if (status == Stream::Status::ended) return refuse_handshake(stream_->handshake_failure());
    if (status != Stream::Status::done) return after(status);
    try {
        if (auto shown = read_peer_certificate(stream_->ssl()))
            certificate_ = std::make_shared<const PeerCertificate>(std::move(*shown));
        if (certificate_) holds_until_ = holds_until(stream_->ssl(), *loop_->tls());
    } catch (const base::Error& error) {
        return refuse_handshake(error.message());
    }
    if (loop_->pass_on()) return hand_over();
    begin_idle();
    readable_ = true;  // the first request may have come together with the handshake's end
    return Next::again;
}

Connection::Next Connection::hand_over() {
    auto arrival = std::make_shared<Arrival>(-1);
    boost::system::error_code error;
    arrival->socket = socket_.release(error);
    if (error) return closed();
    arrival->place.emplace(std::move(*place_));
    arrival->peer = std::move(peer_);
    arrival->ssl = stream_->release();
    arrival->certificate = std::move(certificate_);
    arrival->judged_by = judged_by_;
    arrival->holds_until = holds_until_;
    const Loop::PassOn& pass_on = loop_->pass_on();
    close();
    pass_on(std::move(arrival));
    return Next::rest;
}

void Connection::go_on(Arrival& arrival) {
    certificate_ = std::move(arrival.certificate);
    judged_by_ = arrival.judged_by;
    holds_until_ = arrival.holds_until;
    begin_idle();
    readable_ = true;  // the first request may have come together with the handshake's end
    drive(Next::again);
}

void Connection::begin_idle() {
    const EdgeConfig& config = loop_->environment().config;
    phase_ = Phase::idle;
    std::chrono::milliseconds bound = config.idle_deadline;
    if (!certificate_) bound = std::min(bound, config.stranger_idle_deadline);
    if (!place_->is_served()) bound = std::min(bound, config.refused_deadline);
    deadline_ = Clock::now() + bound;
}

Connection::Next Connection::refuse_handshake(const std::string& reason) {
    const EdgeEnvironment& environment = loop_->environment();
    environment.metrics.count("tls_handshake_failures");
    if (const auto held_back = environment.log_throttle.pass(Clock::now())) {
        environment.log.info("TLS handshake failed",
                             {{"peer", peer_.address},
                              {"reason", reason},
                              {"not_logged_before", static_cast<std::int64_t>(*held_back)}});
    }
    return begin_linger();
}

bool Connection::read_some(Next& next) {
    const std::span<char> room = reader_.room();
    std::size_t count = 0;
    const Stream::Status status = stream_->read(room.data(), room.size(), count);
    reader_.filled(count);
    if (status == Stream::Status::done) return true;
    readable_ = false;
    reader_.release();
    next = after(status);
    return false;
}

Connection::Next Connection::after(Stream::Status status) {
    switch (status) {
        case Stream::Status::done:
            return Next::again;
        case Stream::Status::wants_read:
            return Next::wait_read;
        case Stream::Status::wants_write:
            return Next::wait_write;
        case Stream::Status::ended:
            break;
    }
    return closed();
}

std::optional<Connection::Next> Connection::refuse_lapsed() {
    if (!certificate_) return std::nullopt;
    const std::shared_ptr<const Tls>& tls = loop_->tls();
    const auto now = std::chrono::floor<std::chrono::seconds>(loop_->environment().config.now());
    if (judged_by_ == loop_->tls_generation() && now < holds_until_) return std::nullopt;
    const std::string fault = judge_again(stream_->ssl(), *tls, now);
    if (!fault.empty()) {
        return refuse({base::ErrorCode::unauthenticated,
                       "the client certificate does not hold any more", fault});
    }
    judged_by_ = loop_->tls_generation();
    holds_until_ = holds_until(stream_->ssl(), *tls);
    return std::nullopt;
}

void Connection::begin_request() {
    const EdgeConfig& config = loop_->environment().config;
    const auto now = Clock::now();
    Request& request = reader_.begin().request;
    request.peer_address = peer_.address;
    request.peer_group = peer_.group;
    request.local_peer = peer_.local;
    request.certificate = certificate_;
    if (caller_ == nullptr) caller_ = loop_->environment().handler.recognize(request);
    request.connected = caller_;
    request.received = now;
    phase_ = Phase::head;
    request_deadline_ = now + config.request_deadline;
    // Who is only told that there is no place has no more time than he had for the first byte.
    if (place_->is_served()) deadline_ = std::min(now + config.head_deadline, request_deadline_);
}

Connection::Next Connection::read_head() {
    for (;;) {
        if (reader_.has_input()) {
            if (phase_ == Phase::idle) begin_request();
            try {
                if (reader_.read_head()) return take_head();
            } catch (const base::Error& error) {
                return refuse(error);
            }
        } else if (!readable_ && !stream_->has_pending()) {
            return Next::wait_read;
        }
        Next next = Next::again;
        if (!read_some(next)) return next;
    }
}

Connection::Next Connection::take_head() {
    if (!place_->is_served()) {
        return refuse(no_place());
    }
    if (auto refusal = refuse_lapsed()) return *refusal;
    const Head& head = reader_.head();
    auto admitted = loop_->environment().handler.admit(head.request);
    if (auto* refusal = std::get_if<Response>(&admitted)) {
        return answer(*refusal, head.keep_alive && head.content_length == 0);
    }
    const std::size_t limit = std::get<std::size_t>(admitted);
    if (head.content_length > limit) {
        return refuse({base::ErrorCode::payload_too_large,
                       limit == 0 ? "this request takes no body"
                                  : "the body is larger than " + std::to_string(limit) + " bytes"});
    }
    if (head.content_length > loop_->environment().config.large_body_bytes &&
        !take_room(head.content_length, limit)) {
        return refuse(
            {base::ErrorCode::unavailable, "too many large requests at once: try again later"});
    }
    reader_.begin_body();
    phase_ = Phase::body;
    deadline_ = request_deadline_;
    if (head.expects_continue && !reader_.body_complete()) {
        output_ = "HTTP/1.1 100 Continue\r\n\r\n";
        written_ = 0;
        interim_ = true;
        phase_ = Phase::writing;
    }
    return Next::again;
}

bool Connection::take_room(std::size_t bytes, std::size_t largest) {
    // Who comes over a UNIX socket was let in by its mode: strangers' half is bound enough.
    large_body_.emplace(loop_->environment().large_bodies,
                        LargeBodyClaim{.bytes = bytes,
                                       .largest = largest,
                                       .is_stranger = !certificate_,
                                       .group = peer_.local ? std::string() : peer_.group});
    if (large_body_->has_room()) return true;
    loop_->environment().metrics.count("large_bodies_refused");
    return false;
}

Connection::Next Connection::read_body() {
    while (!reader_.body_complete()) {
        Next next = Next::again;
        if (!read_some(next)) return next;
    }
    return call_handler();
}

Connection::Next Connection::call_handler() {
    if (auto refusal = refuse_lapsed()) return *refusal;  // the body may have taken its time
    reader_.release();
    phase_ = Phase::working;
    deadline_ = Clock::time_point::max();
    loop_->environment().handler.handle(
        std::move(reader_.head().request), [self = shared_from_this()](Response response) {
            Loop& loop = *self->loop_;
            loop.post(
                [self, response = std::move(response)]() mutable { self->take_answer(response); });
        });
    return Next::rest;
}

void Connection::take_answer(const Response& response) {
    if (phase_ != Phase::working) return;
    drive_from([&] { return answer(response, reader_.head().keep_alive); });
}

Connection::Next Connection::answer(const Response& response, bool keep_alive) {
    large_body_.reset();
    keep_alive_ = keep_alive && !loop_->winding_down();
    output_ = serialize(response, keep_alive_, loop_->date());
    written_ = 0;
    phase_ = Phase::writing;
    deadline_ = Clock::now() + loop_->environment().config.request_deadline;
    return Next::again;
}

Connection::Next Connection::refuse(const base::Error& error) {
    Request& request = reader_.head().request;
    release(request.body);
    return answer(loop_->environment().handler.refuse(request, error), false);
}

Connection::Next Connection::write() {
    while (written_ < output_.size()) {
        std::size_t count = 0;
        const Stream::Status status =
            stream_->write(output_.data() + written_, output_.size() - written_, count);
        if (status != Stream::Status::done) return after(status);
        written_ += count;
    }
    return finish_writing();
}

Connection::Next Connection::finish_writing() {
    release(output_);
    if (interim_) {
        interim_ = false;
        phase_ = Phase::body;
        return loop_->winding_down() ? refuse(stopping()) : Next::again;
    }
    if (!keep_alive_) return begin_linger();
    begin_idle();
    readable_ = false;
    return Next::again;
}

Connection::Next Connection::begin_linger() {
    stream_->say_goodbye();
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
            drive_from([this] { return refuse(place_->is_served() ? too_slow() : no_place()); });
            return;
        case Phase::writing:
            loop_->environment().metrics.count("responses_not_taken");
            return close();
        case Phase::idle:
            stream_->say_goodbye();
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
            stream_->say_goodbye();
            return close();
        case Phase::head:
        case Phase::body:  // nothing was done for it yet, so the caller may send it again elsewhere
            forget_wait();
            return drive_from([this] { return refuse(stopping()); });
        case Phase::handshake:
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
    stream_.reset();
    boost::system::error_code ignored;
    socket_.close(ignored);
    reader_.release(true);
    release(output_);
    large_body_.reset();
    place_.reset();
    loop_->remove(*this);
}

}  // namespace server
