#include "server/edge_listener.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <system_error>

#include "base/error.h"

namespace server {
namespace {

constexpr std::string_view unix_prefix = "unix:";
constexpr std::size_t network_bytes_of_a_peer = 8;  // of an IPv6 address: its /64

[[noreturn]] void refuse_to_listen(const std::string& what, int error = 0) {
    throw base::Error(base::ErrorCode::failed_precondition, what,
                      error == 0 ? "" : std::generic_category().message(error));
}

bool is_unix(const ListenAddress& address) { return address.address.starts_with(unix_prefix); }

struct SocketAddress {
    sockaddr_storage storage{};
    socklen_t size = 0;
};

// Callers copy into and out of sockaddr_storage: no object is read through another's type.
template <typename Address>
SocketAddress to_storage(const Address& address) {
    SocketAddress result;
    std::memcpy(&result.storage, &address, sizeof(address));
    result.size = sizeof(address);
    return result;
}

template <typename Address>
Address from_storage(const sockaddr_storage& storage) {
    Address result{};
    std::memcpy(&result, &storage, sizeof(result));
    return result;
}

std::optional<SocketAddress> numeric(const std::string& text, std::uint16_t port) {
    sockaddr_in v4{};
    if (::inet_pton(AF_INET, text.c_str(), &v4.sin_addr) == 1) {
        v4.sin_family = AF_INET;
        v4.sin_port = htons(port);
        return to_storage(v4);
    }
    sockaddr_in6 v6{};
    if (::inet_pton(AF_INET6, text.c_str(), &v6.sin6_addr) == 1) {
        v6.sin6_family = AF_INET6;
        v6.sin6_port = htons(port);
        return to_storage(v6);
    }
    return std::nullopt;
}

SocketAddress unix_address(const std::filesystem::path& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string& text = path.native();
    if (text.empty() || text.size() >= sizeof(address.sun_path)) {
        refuse_to_listen("the path of a UNIX socket has 1 to " +
                         std::to_string(sizeof(address.sun_path) - 1) + " bytes: " + text);
    }
    std::memcpy(address.sun_path, text.data(), text.size());
    return to_storage(address);
}

int open_socket(int family, const std::string& place) {
    const int socket = ::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (socket < 0) refuse_to_listen("can't listen on " + place, errno);
    return socket;
}

bool bind_to(int socket, const SocketAddress& address) {
    return ::bind(socket, reinterpret_cast<const sockaddr*>(&address.storage), address.size) == 0;
}

// Throws unless `path` may be given to a new socket.
void require_free(const std::filesystem::path& path) {
    struct stat status {};
    if (::lstat(path.c_str(), &status) != 0) return;
    if (!S_ISSOCK(status.st_mode)) {
        refuse_to_listen(path.string() +
                         " exists and is no socket: remove it or configure another path");
    }
    const int probe = open_socket(AF_UNIX, path.string());
    const SocketAddress address = unix_address(path);
    const bool answers = ::connect(probe, reinterpret_cast<const sockaddr*>(&address.storage),
                                   address.size) == 0 ||
                         errno == EAGAIN;  // its backlog is full
    ::close(probe);
    if (answers) {
        refuse_to_listen("the socket " + path.string() +
                         " is in use: stop the other process or configure another path");
    }
}

}  // namespace

bool is_local(const ListenAddress& address) {
    if (is_unix(address)) return true;
    const auto socket_address = numeric(address.address, 0);
    if (!socket_address) return false;
    if (socket_address->storage.ss_family == AF_INET) {
        const auto v4 = from_storage<sockaddr_in>(socket_address->storage);
        return (ntohl(v4.sin_addr.s_addr) >> 24U) == 127;
    }
    const auto v6 = from_storage<sockaddr_in6>(socket_address->storage);
    return IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr);
}

Listener::Listener(const ListenAddress& address, int backlog) {
    try {
        if (is_unix(address)) {
            listen_unix(address, backlog);
        } else {
            listen_tcp(address, backlog);
        }
    } catch (...) {
        if (socket_ >= 0) ::close(socket_);
        throw;
    }
}

Listener::~Listener() {
    if (socket_ >= 0) ::close(socket_);
    struct stat status {};
    if (!path_.empty() && ::lstat(path_.c_str(), &status) == 0 && status.st_dev == device_ &&
        status.st_ino == inode_) {
        ::unlink(path_.c_str());
    }
}

int Listener::release() {
    const int socket = socket_;
    socket_ = -1;
    return socket;
}

void Listener::listen_tcp(const ListenAddress& address, int backlog) {
    text_ = address.address + " port " + std::to_string(address.port);
    const auto place = numeric(address.address, address.port);
    if (!place)
        refuse_to_listen("listen address " + address.address + " is not a numeric IP address");
    socket_ = open_socket(place->storage.ss_family, text_);
    // Lets a restart take the port while old connections linger. SO_REUSEPORT, which would let
    // another process share it, stays off.
    const int on = 1;
    ::setsockopt(socket_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (!bind_to(socket_, *place) || ::listen(socket_, backlog) != 0) {
        const int error = errno;
        if (error == EADDRINUSE) {
            refuse_to_listen("port " + std::to_string(address.port) + " is in use on " +
                                 address.address +
                                 ": stop the other process or configure another port",
                             error);
        }
        if (error == EACCES) {
            refuse_to_listen("not permitted to listen on " + text_ + ": choose a port above 1023",
                             error);
        }
        refuse_to_listen("can't listen on " + text_ + ": is the address one of this machine?",
                         error);
    }
    sockaddr_storage bound{};
    socklen_t size = sizeof(bound);
    if (::getsockname(socket_, reinterpret_cast<sockaddr*>(&bound), &size) != 0) {
        refuse_to_listen("can't listen on " + text_, errno);
    }
    port_ = ntohs(bound.ss_family == AF_INET ? from_storage<sockaddr_in>(bound).sin_port
                                             : from_storage<sockaddr_in6>(bound).sin6_port);
    text_ = address.address + " port " + std::to_string(port_);
}

void Listener::listen_unix(const ListenAddress& address, int backlog) {
    text_ = address.address;
    const std::filesystem::path path = address.address.substr(unix_prefix.size());
    static_cast<void>(unix_address(path));
    require_free(path);
    // Under a name of its own until mode and backlog are set: nobody can connect before that.
    const std::filesystem::path fresh = path.string() + "." + std::to_string(::getpid());
    const SocketAddress place = unix_address(fresh);
    socket_ = open_socket(AF_UNIX, text_);
    ::unlink(fresh.c_str());
    if (!bind_to(socket_, place)) {
        refuse_to_listen(
            "can't make the socket " + path.string() + ": is its folder there and writable?",
            errno);
    }
    struct stat status {};
    if (::chmod(fresh.c_str(), address.mode) != 0 || ::listen(socket_, backlog) != 0 ||
        ::lstat(fresh.c_str(), &status) != 0 || ::rename(fresh.c_str(), path.c_str()) != 0) {
        const int error = errno;
        ::unlink(fresh.c_str());
        refuse_to_listen("can't make the socket " + path.string(), error);
    }
    path_ = path;
    device_ = status.st_dev;
    inode_ = status.st_ino;
}

Peer peer_of(int socket, const sockaddr_storage& address) {
    Peer peer;
    std::array<char, INET6_ADDRSTRLEN> text{};
    if (address.ss_family == AF_INET) {
        const auto v4 = from_storage<sockaddr_in>(address);
        ::inet_ntop(AF_INET, &v4.sin_addr, text.data(), text.size());
        peer.address = text.data();
        peer.group = peer.address;
    } else if (address.ss_family == AF_INET6) {
        const auto v6 = from_storage<sockaddr_in6>(address);
        ::inet_ntop(AF_INET6, &v6.sin6_addr, text.data(), text.size());
        peer.address = text.data();
        peer.group = IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)
                         ? peer.address.substr(peer.address.rfind(':') + 1)
                         : std::string(reinterpret_cast<const char*>(&v6.sin6_addr),
                                       network_bytes_of_a_peer);
    } else {
        ucred credentials{};
        socklen_t size = sizeof(credentials);
        if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &size) == 0) {
            peer.local = LocalPeer{credentials.uid, credentials.gid, credentials.pid};
            peer.group = "uid " + std::to_string(credentials.uid);
        }
    }
    return peer;
}

}  // namespace server
