// One connection: handshake, then request after request, each read whole, handled, answered.
// Private to server/edge*.cpp.
#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <chrono>
#include <memory>

#include "server/edge_head.h"
#include "server/edge_loop.h"
#include "server/edge_tls.h"

namespace server {

// OpenSSL works on the non-blocking socket itself and Asio only says when it is ready: an idle
// connection then holds no buffer of ours, which asio::ssl::stream can't offer (68 KiB each).
// Lives on its loop's thread. At any time at most one wait or one handler call is under way, and
// that one holds the shared pointer.
class Connection : public std::enable_shared_from_this<Connection> {
public:
    using Clock = std::chrono::steady_clock;

    Connection(std::shared_ptr<Loop> loop, boost::asio::ip::tcp::socket socket, Ssl ssl,
               ConnectionPlace place);

    void start();
    // When expire() is due.
    Clock::time_point deadline() const { return deadline_; }
    // The deadline has passed: refuses or closes, by what was going on.
    void expire();
    // The edge is stopping: closes unless a request is being handled or answered.
    void wind_down();
    // Ends it at once, wherever it is.
    void close();

private:
    enum class Phase { handshake, idle, head, body, working, writing, lingering, closed };
    enum class Next { again, wait_read, wait_write, rest };

    // Goes on from `next` until there is something to wait for.
    void drive(Next next);
    void wait(boost::asio::socket_base::wait_type what);
    Next step();
    Next shake_hands();
    void begin_idle();
    Next read_head();
    Next take_head(std::size_t head_bytes);
    Next read_body();
    Next call_handler();
    Next write();
    Next linger();

    // Bytes read; or, when it is zero, `next` says what to do.
    std::size_t read_some(char* to, std::size_t space, Next& next);
    // What a failed OpenSSL call asks for; closes when there is nothing to hope for.
    Next after_tls_failure(int result);
    void begin_request();
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
    boost::asio::ip::tcp::socket socket_;
    Ssl ssl_;
    std::optional<ConnectionPlace> place_;  // empty once closed
    std::optional<PeerCertificate> certificate_;

    Phase phase_ = Phase::handshake;
    Clock::time_point deadline_ = Clock::time_point::max();
    Clock::time_point request_deadline_{};
    std::uint64_t wait_ticket_ = 0;  // of the wait that counts; older ones were forgotten
    bool readable_ = false;          // the socket said so and was not read since

    base::WipedString input_;   // bytes read and not yet used: a head, and what came with it
    std::size_t searched_ = 0;  // bytes of input_ known to hold no end of the head
    Head head_;
    std::size_t body_bytes_ = 0;  // of head_.request.body that have arrived
    base::WipedString output_;
    std::size_t written_ = 0;
    bool keep_alive_ = true;  // after the answer being written
    bool interim_ = false;    // what is being written is "100 Continue"
    std::size_t lingered_bytes_ = 0;
};

}  // namespace server
