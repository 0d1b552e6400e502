// What clients show of themselves and whom they trust, read from files, and anew when told: a
// renewed certificate, or another authority of the service's, needs no restart. Clients that share
// one change together.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace kms {

class ClientTls;

// Thread-safe.
class ClientCertificates {
public:
    // The files of ClientConfig; without `certificate` and `key` nobody is shown. Throws
    // invalid_argument naming the file that is missing, unreadable, no PEM, readable by others (the
    // key), or of another pair.
    ClientCertificates(std::filesystem::path ca, std::filesystem::path certificate,
                       std::filesystem::path key);
    ~ClientCertificates();
    ClientCertificates(const ClientCertificates&) = delete;
    ClientCertificates& operator=(const ClientCertificates&) = delete;

    // Reads the files anew and puts them in force, all or none: throws as the constructor, and then
    // the old ones stay. Afterwards every new connection of the clients has the new ones, their
    // idle connections are closed, and a call that is under way ends on its connection, which is
    // closed behind it. Waits for no call. Returns facts of the new certificate for an audit log:
    // certificate_sha256 and certificate_end (RFC 3339); nothing when nobody is shown.
    std::map<std::string, std::string> reload();

    // The files that it reads.
    std::vector<std::filesystem::path> files() const;

    // The rest is for kms/client alone.

    // Who keeps connections. Told within reload() and behind the change, on its thread.
    class User {
    public:
        virtual ~User() = default;
        virtual void certificates_changed() noexcept = 0;
    };
    // `user` must leave before it ends.
    void join(User& user);
    void leave(User& user) noexcept;

    std::shared_ptr<const ClientTls> current() const noexcept;

private:
    const std::filesystem::path ca_, certificate_, key_;
    std::mutex users_mutex_;  // also: one reload at a time; taken before the users' own and mutex_
    std::vector<User*> users_;
    mutable std::mutex mutex_;
    std::shared_ptr<const ClientTls> current_;
};

}  // namespace kms
