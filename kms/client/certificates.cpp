#include "kms/client/certificates.h"

#include <utility>

#include "kms/client/tls.h"

namespace kms {

ClientCertificates::ClientCertificates(std::filesystem::path ca, std::filesystem::path certificate,
                                       std::filesystem::path key)
    : ca_(std::move(ca)),
      certificate_(std::move(certificate)),
      key_(std::move(key)),
      current_(std::make_shared<const ClientTls>(ca_, certificate_, key_)) {}

ClientCertificates::~ClientCertificates() = default;

std::map<std::string, std::string> ClientCertificates::reload() {
    const std::lock_guard one_at_a_time(users_mutex_);
    auto fresh = std::make_shared<const ClientTls>(ca_, certificate_, key_);
    auto facts = fresh->facts();
    {
        const std::lock_guard lock(mutex_);
        current_.swap(fresh);
    }
    for (User* user : users_) user->certificates_changed();
    return facts;
}

std::vector<std::filesystem::path> ClientCertificates::files() const {
    std::vector<std::filesystem::path> files{ca_};
    if (!certificate_.empty()) files.push_back(certificate_);
    if (!key_.empty()) files.push_back(key_);
    return files;
}

void ClientCertificates::join(User& user) {
    const std::lock_guard lock(users_mutex_);
    users_.push_back(&user);
}

void ClientCertificates::leave(User& user) noexcept {
    const std::lock_guard lock(users_mutex_);
    std::erase(users_, &user);
}

std::shared_ptr<const ClientTls> ClientCertificates::current() const noexcept {
    const std::lock_guard lock(mutex_);
    return current_;
}

}  // namespace kms
