// Sockets that listen, on TCP and in the file system, and who is at the other end of one that was
// accepted. Private to server/edge*.cpp.
#pragma once

#include <sys/socket.h>
#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "server/edge.h"
#include "server/request.h"

namespace server {

// Whether the address names a place that only this machine reaches: loopback or a UNIX socket.
bool is_local(const ListenAddress& address);

class Listener {
public:
    // Binds and listens, not blocking, close-on-exec. A UNIX socket gets its mode before it gets
    // its name, and takes the name from a socket that nobody listens on any more; it is not taken
    // from a living one, nor from any other kind of file. Throws failed_precondition saying what is
    // wrong and what to do.
    Listener(const ListenAddress& address, int backlog);
    // Removes a UNIX socket's name, unless it has become another's.
    ~Listener();
    Listener(const Listener&) = delete;
    Listener& operator=(const Listener&) = delete;

    // The socket, which is the caller's to close from now on.
    int release();
    std::uint16_t port() const { return port_; }       // 0 for a UNIX socket
    const std::string& text() const { return text_; }  // "127.0.0.1 port 7443", "unix:/run/x.sock"

private:
    void listen_tcp(const ListenAddress& address, int backlog);
    void listen_unix(const ListenAddress& address, int backlog);

    int socket_ = -1;
    std::uint16_t port_ = 0;
    std::string text_;
    std::filesystem::path path_;  // of a UNIX socket
    dev_t device_ = 0;
    ino_t inode_ = 0;
};

struct Peer {
    std::string address;             // numeric; empty over a UNIX socket
    std::optional<LocalPeer> local;  // over a UNIX socket
    // Who shares the cap on connections for one peer: an IPv4 address, the /64 of an IPv6 address
    // (any host there has all of it), a local user.
    std::string group;
};

Peer peer_of(int socket, const sockaddr_storage& address);

}  // namespace server
