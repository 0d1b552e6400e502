#include "hsm/worker.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

#include "base/error.h"
#include "hsm/worker_fields.h"

namespace hsm {
namespace {

constexpr Patience opening_send_patience{1000};

[[noreturn]] void not_opened(const char* why) {
    throw base::Error(base::ErrorCode::unavailable, "the token worker can't be used", why);
}

}  // namespace

// The socket is its standard input. What modules print goes where errors go.
Worker::Worker(const std::filesystem::path& program, const WorkerOpening& opening)
    : sockets_(make_socket_pair()),
      process_(program, sockets_.theirs.get(), STDERR_FILENO, ChildEnvironment::ours),
      control_(std::move(sockets_.ours)) {
    sockets_.theirs.close();
    write_opening(control_.outgoing(), 0, opening);
    if (control_.send(opening_send_patience) != Transfer::done)
        not_opened("it does not take its opening");
}

void Worker::finish_opening(Patience patience) {
    switch (control_.receive(patience)) {
        case Transfer::done:
            break;
        case Transfer::late:
            not_opened("it did not open the token in time");
        case Transfer::closed:
            not_opened("it ended while it opened the token");
    }
    WireReader reader(control_.incoming());
    const AnswerHead head = read_head(reader);
    refused_pin_ = head.is_pin_refused;
    if (head.error) throw read_refusal(reader, *head.error);
    info_ = read_answer<TokenInfo>(reader);
}

std::unique_ptr<FrameSocket> Worker::make_channel() {
    SocketPair sockets = make_socket_pair();
    if (!pass_descriptor(control(), sockets.theirs.get())) return nullptr;
    return std::make_unique<FrameSocket>(std::move(sockets.ours));
}

bool Worker::is_new_login(std::uint32_t logins) {
    std::uint32_t known = logins_.load();
    while (logins > known) {
        if (logins_.compare_exchange_weak(known, logins)) return true;
    }
    return false;
}

bool Worker::say_goodbye(std::chrono::milliseconds patience) {
    ::shutdown(control(), SHUT_RDWR);
    return process_.wait_exit(patience);
}

bool Worker::is_proven(const KeyId& key, std::uint64_t age) const {
    const std::shared_lock lock(mutex_);
    const auto found = proven_.find(key);
    return found != proven_.end() && found->second == age;
}

void Worker::note_proven(const KeyId& key, std::uint64_t age) {
    const std::unique_lock lock(mutex_);
    std::uint64_t& proven = proven_[key];
    proven = std::max(proven, age);
}

}  // namespace hsm
