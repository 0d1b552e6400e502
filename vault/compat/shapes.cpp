#include "vault/compat/shapes.h"

#include <algorithm>

namespace vault::compat {
namespace {

bool takes_secret_in(const server::IdentityConfig& identity, std::string_view header) {
    if (!identity.shared_secrets) return false;
    const auto& headers = identity.shared_secrets->headers;
    return std::find(headers.begin(), headers.end(), header) != headers.end();
}

}  // namespace

std::unique_ptr<DirectusItems> open_items(const Config& config) {
    if (!config.shared_secret || !config.shared_secret->directus) return nullptr;
    return std::make_unique<DirectusItems>(*config.shared_secret->directus,
                                           config.shared_secret->name);
}

Shapes::Shapes(const Config& config, const server::IdentityConfig& identity,
               const RefreshParts& parts, const server::Authorizer& authorizer,
               const DirectusItems* items)
    : items_(items) {
    if (config.shared_secret) {
        shared_secret_ = std::make_unique<SharedSecretApi>(
            *config.shared_secret,
            SharedSecretParts{parts.service, authorizer,
                              takes_secret_in(identity, sync_secret_header), items});
    }
    if (config.broker) broker_ = std::make_unique<BrokerApi>(*config.broker, parts, authorizer);
}

void Shapes::cancel() const noexcept {
    if (items_ != nullptr) items_->cancel();
    if (broker_) broker_->cancel();
}

std::vector<server::Route> Shapes::routes() {
    std::vector<server::Route> rows;
    if (shared_secret_) rows = shared_secret_->routes();
    if (broker_) rows = server::join(std::move(rows), broker_->routes());
    return rows;
}

}  // namespace vault::compat
