// A token worker as kmsd sees it: the child process, its channels, and which keys have proven
// themselves in it.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <unordered_map>

#include "hsm/frame_socket.h"
#include "hsm/worker_protocol.h"

namespace hsm {

// Safe to share between threads where it says so.
class Worker {
public:
    // Starts the program and sends it the opening; its answer comes later. Throws unavailable.
    Worker(const std::filesystem::path& program, const WorkerOpening& opening);

    pid_t pid() const { return process_.pid(); }
    // Readable when the answer to the opening is there; hung up when the worker has ended.
    int control() const { return control_.descriptor(); }
    // Takes the answer. Throws what the worker refused the opening with, and unavailable when it
    // ended or does not answer in time.
    void finish_opening(Patience patience);
    bool refused_pin() const { return refused_pin_; }
    const TokenInfo& info() const { return info_; }

    // A new channel to it; null when it is gone. Not for two threads at a time.
    std::unique_ptr<FrameSocket> make_channel();
    // True when an answer tells of more logins than any before. Thread-safe.
    bool is_new_login(std::uint32_t logins);
    // Whether its last answer was that the token is not available. Thread-safe.
    void note_token(bool is_away) {
        if (is_token_away_.load() != is_away) is_token_away_ = is_away;
    }
    bool is_token_away() const { return is_token_away_.load(); }
    // Every call that waits for it ends. Thread-safe.
    void kill() { process_.kill(); }
    // It ends by itself when it hears nothing more; whether it has within `patience`.
    bool say_goodbye(std::chrono::milliseconds patience);

    // That a key has fitted to a known answer of that age here. Thread-safe.
    bool is_proven(const KeyId& key, std::uint64_t age) const;
    void note_proven(const KeyId& key, std::uint64_t age);

private:
    SocketPair sockets_;
    ChildProcess process_;
    FrameSocket control_;
    TokenInfo info_;
    bool refused_pin_ = false;
    std::atomic<std::uint32_t> logins_{1};
    std::atomic<bool> is_token_away_{false};
    mutable std::shared_mutex mutex_;
    std::unordered_map<KeyId, std::uint64_t> proven_;  // the age of the answer
};

}  // namespace hsm
