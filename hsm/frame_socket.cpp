#include "hsm/frame_socket.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "hsm/worker_protocol.h"

namespace hsm {
namespace {

using Instant = std::chrono::steady_clock::time_point;

// Room that is kept between frames; what a larger one took is given back.
constexpr std::size_t kept_bytes = 16UL * 1024;

// True when the socket is ready before `end`.
bool wait_for(int socket, short what, Instant end, Patience patience) {
    for (;;) {
        int wait = -1;
        if (patience != endless) {
            const auto left = std::chrono::ceil<std::chrono::milliseconds>(
                end - std::chrono::steady_clock::now());
            wait = left.count() > 0 ? static_cast<int>(left.count()) : 0;
        }
        pollfd ready{socket, what, 0};
        const int count = ::poll(&ready, 1, wait);
        if (count < 0 && errno == EINTR) continue;
        return count > 0;
    }
}

std::size_t length_of(base::ByteView head) {
    std::size_t length = 0;
    for (const std::uint8_t byte : head.first(frame_length_bytes)) length = (length << 8U) | byte;
    return length;
}

// A message of one byte with room for one descriptor.
struct DescriptorMessage {
    DescriptorMessage() {
        part.iov_base = &byte;
        part.iov_len = 1;
        message.msg_iov = &part;
        message.msg_iovlen = 1;
        message.msg_control = control.data();
        message.msg_controllen = control.size();
    }
    char byte = 0;
    iovec part{};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
    msghdr message{};
};

}  // namespace

FrameSocket::FrameSocket(Descriptor socket) : socket_(std::move(socket)), incoming_(kept_bytes) {}

Transfer FrameSocket::send(Patience patience) {
    const Instant end = std::chrono::steady_clock::now() + patience;
    base::ByteView rest = outgoing_;
    Transfer transfer = Transfer::done;
    while (!rest.empty()) {
        const ssize_t sent =
            ::send(socket_.get(), rest.data(), rest.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent >= 0) {
            rest = rest.subspan(static_cast<std::size_t>(sent));
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            if (wait_for(socket_.get(), POLLOUT, end, patience)) continue;
            transfer = Transfer::late;
            break;
        } else if (errno != EINTR) {
            transfer = Transfer::closed;
            break;
        }
    }
    base::wipe(outgoing_.data(), outgoing_.size());
    outgoing_.clear();
    if (outgoing_.capacity() > kept_bytes) outgoing_.shrink_to_fit();
    return transfer;
}

// The wait for the first bytes is left to the kernel: one call instead of two on the hot path.
void FrameSocket::set_first_wait(Patience patience) {
    if (patience == first_wait_) return;
    timeval wait{};
    wait.tv_sec = static_cast<decltype(wait.tv_sec)>(patience.count() / 1000);
    wait.tv_usec = static_cast<decltype(wait.tv_usec)>(patience.count() % 1000 * 1000);
    if (::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait) == 0)
        first_wait_ = patience;
}

// At most as much as was asked for, unless it is the first: then all that is there.
Transfer FrameSocket::receive_more(std::size_t wanted, Instant end, Patience patience) {
    while (received_ < wanted) {
        const bool is_first = received_ == 0;
        if (!is_first && !wait_for(socket_.get(), POLLIN, end, patience)) return Transfer::late;
        const std::size_t room = (is_first ? incoming_.size() : wanted) - received_;
        const ssize_t got =
            ::recv(socket_.get(), incoming_.data() + received_, room, is_first ? 0 : MSG_DONTWAIT);
        const bool is_early = got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
        const bool is_interrupted = got < 0 && errno == EINTR;
        if (got > 0) {
            received_ += static_cast<std::size_t>(got);
        } else if (!is_early && !is_interrupted) {
            return Transfer::closed;
        } else if (is_early && is_first) {
            return Transfer::late;
        }
    }
    return Transfer::done;
}

Transfer FrameSocket::receive(Patience patience) {
    forget();
    set_first_wait(patience);
    const Instant end = std::chrono::steady_clock::now() + patience;
    Transfer transfer = receive_more(frame_length_bytes, end, patience);
    if (transfer != Transfer::done) return transfer;
    const std::size_t length = length_of(incoming_);
    const std::size_t whole = frame_length_bytes + length;
    if (length > max_frame_bytes || received_ > whole) WireReader::refuse_malformed();
    if (whole > incoming_.size()) incoming_.resize(whole);
    return receive_more(whole, end, patience);
}

base::ByteView FrameSocket::incoming() const {
    return base::ByteView(incoming_).first(received_).subspan(frame_length_bytes);
}

void FrameSocket::forget() noexcept {
    base::wipe(incoming_.data(), received_);
    received_ = 0;
    if (incoming_.size() > kept_bytes) {
        incoming_.resize(kept_bytes);
        incoming_.shrink_to_fit();
    }
}

bool pass_descriptor(int control, int passed) {
    DescriptorMessage out;
    cmsghdr* head = CMSG_FIRSTHDR(&out.message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof passed);
    std::memcpy(CMSG_DATA(head), &passed, sizeof passed);
    ssize_t sent = 0;
    do {
        sent = ::sendmsg(control, &out.message, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (sent < 0 && errno == EINTR);
    if (sent < 0 && errno != EPIPE && errno != ECONNRESET) {
        throw base::Error(base::ErrorCode::unavailable, "the token worker takes no more channels",
                          std::strerror(errno));
    }
    return sent == 1;
}

Descriptor receive_descriptor(int control) {
    DescriptorMessage in;
    ssize_t got = 0;
    do {
        got = ::recvmsg(control, &in.message, MSG_CMSG_CLOEXEC);
    } while (got < 0 && errno == EINTR);
    const cmsghdr* head = CMSG_FIRSTHDR(&in.message);
    if (got != 1 || head == nullptr || head->cmsg_level != SOL_SOCKET ||
        head->cmsg_type != SCM_RIGHTS || head->cmsg_len != CMSG_LEN(sizeof(int)))
        return Descriptor();
    int passed = -1;
    std::memcpy(&passed, CMSG_DATA(head), sizeof passed);
    return Descriptor(passed);
}

}  // namespace hsm
