// One connection: handshake, then request after request, each read whole, handled, answered.
// Private to server/edge*.cpp.
#pragma once

#include <boost/asio/generic/stream_protocol.hpp>
#include <chrono>
#include <memory>

#include "server/edge_loop.h"
#include "server/edge_reader.h"
#include "server/edge_stream.h"
#include "server/edge_tls.h"

namespace server {

// OpenSSL works on the non-blocking socket itself and Asio only says when it is ready: an idle
// connection then holds no buffer of ours, which asio::ssl::stream can't offer (68 KiB each).
// Lives on its loop's thread; the loop that shook hands passes the socket on, and another
// Connection goes on with it. At any time at most one wait or one handler call is under way, and
// that one holds the shared pointer.
class Connection : public std::enable_shared_from_this<Connection> {
public:
    using Clock = std::chrono::steady_clock;
    using Socket = boost::asio::generic::stream_protocol::socket;

    // A null `ssl` means plain bytes.
    Connection(std::shared_ptr<Loop> loop, Socket socket, Ssl ssl, ConnectionPlace place,
               Peer peer);

    void start();
    // Instead of start(), for one that shook hands on another loop.
    void go_on(Arrival& arrival);
    // When expire() is due.
    Clock::time_point deadline() const { return deadline_; }
    // The deadline has passed: refuses or closes, by what was going on.
    void expire();
    // The edge is stopping: closes unless a request is being handled or answered. One that has come
    // in part is refused.
    void wind_down();
    // Ends it at once, wherever it is.
    void close();

private:
    enum class Phase { handshake, idle, head, body, working, writing, lingering, closed };
    enum class Next { again, wait_read, wait_write, rest };

    // Goes on from `next` until there is something to wait for.
    void drive(Next next);
    // The same from what `begin` returns.
    template <typename Begin>
    void drive_from(Begin begin);
    void wait(boost::asio::socket_base::wait_type what);
    Next step();
    Next shake_hands();
    Next hand_over();
    void begin_idle();
    Next read_head();
    Next take_head();
    // Room for a large body, of `largest` bytes at most. False when there is none.
    bool take_room(std::size_t bytes, std::size_t largest);
    Next read_body();
    Next call_handler();
    Next write();
    Next linger();

    // Reads into the reader's room. True when bytes came; else `next` says what to do.
    bool read_some(Next& next);
    // What the stream asks for; closes when there is nothing to hope for.
    Next after(Stream::Status status);
    void begin_request();
    // Refuses when the peer's certificate, which held when the connection began, was revoked since
    // or has ended. Cheap unless the edge's files have changed or its time is over.
    std::optional<Next> refuse_lapsed();
    void take_answer(const Response& response);
    Next answer(const Response& response, bool keep_alive);
    Next refuse(const base::Error& error);
    Next finish_writing();
    Next refuse_handshake(const std::string& reason);
    Next begin_linger();
    Next closed();
    // Makes the wait under way, if any, come to nothing.
    void forget_wait();

    std::shared_ptr<Loop> loop_;
    Socket socket_;
    std::optional<Stream> stream_;          // empty once closed
    std::optional<ConnectionPlace> place_;  // empty once closed
    Peer peer_;
    std::shared_ptr<const PeerCertificate> certificate_;
    std::shared_ptr<const Caller> caller_;    // whom the handler recognized; null before a request
    std::uint64_t judged_by_ = 0;             // the generation of TLS that the certificate held by
    std::chrono::sys_seconds holds_until_{};  // the time from which it must be judged again

    Phase phase_ = Phase::handshake;
    Clock::time_point deadline_ = Clock::time_point::max();
    Clock::time_point request_deadline_{};
    std::uint64_t wait_ticket_ = 0;  // of the wait that counts; older ones were forgotten
    bool readable_ = false;          // the socket said so and was not read since

    RequestReader reader_;
    std::optional<LargeBody> large_body_;  // of the request under way, if it has one
    base::WipedString output_;
    std::size_t written_ = 0;
    bool keep_alive_ = true;  // after the answer being written
    bool interim_ = false;    // what is being written is "100 Continue"
    std::size_t lingered_bytes_ = 0;
};

}  // namespace server
