#include "vault/compat/token_refresh.h"

#include <thread>

#include "base/error.h"
#include "base/uuid.h"
#include "vault/credential_answers.h"

namespace vault::compat {
namespace {

using base::Error;
using base::ErrorCode;

constexpr std::string_view refresh_fact = "token_refresh";
// Between two looks at another's lease.
constexpr std::chrono::milliseconds lease_look{20};
// Beyond the deadline of the provider a lease covers the key service and the store.
constexpr std::chrono::seconds lease_margin{30};

void note_refresh(server::Operation& operation, std::string_view how) {
    operation.set_fact(std::string(refresh_fact), std::string(how));
}

// What the endpoints' own deadlines may be is the configuration's; this one bounds them all.
std::vector<TokenEndpointConfig> bounded(const RefreshConfig& config) {
    auto endpoints = config.endpoints;
    for (auto& each : endpoints) each.https.deadline = config.deadline;
    return endpoints;
}

}  // namespace

// One fetch that refreshes or waits.
class TokenRefresh::Place {
public:
    Place(std::atomic<std::size_t>& busy, std::size_t most, server::Operation& operation)
        : busy_(busy) {
        if (busy_.fetch_add(1) < most) return;
        busy_.fetch_sub(1);
        note_refresh(operation, "busy");
        throw Error(ErrorCode::unavailable, "too many tokens are being refreshed: try again");
    }
    ~Place() { busy_.fetch_sub(1); }
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;

private:
    std::atomic<std::size_t>& busy_;
};

TokenRefresh::TokenRefresh(RefreshConfig config, const RefreshParts& parts)
    : config_(std::move(config)),
      parts_(parts),
      endpoints_(bounded(config_), parts.clock),
      leases_(parts.database) {}

BrokerRecord TokenRefresh::fresh(server::Operation& operation, const RefreshRights& rights,
                                 const Revealed& found) {
    const Place place(busy_, config_.max_concurrent, operation);
    const Deadline deadline = std::chrono::steady_clock::now() + config_.deadline;
    const CredentialId& id = found.info.id;
    const std::string holder = base::Uuid::random().to_string();
    std::uint64_t version = found.version.version;
    for (;;) {
        const base::Time now = parts_.clock.now();
        switch (leases_.take(id, version, holder, now, now + config_.deadline + lease_margin)) {
            case RefreshLeases::Taken::yes:
                return refresh_held(operation, rights, id, holder);
            case RefreshLeases::Taken::after_failure:
                refuse_paused(operation, false);
            case RefreshLeases::Taken::after_refusal:
                refuse_paused(operation, true);
            case RefreshLeases::Taken::held:
                break;
        }
        wait_while_held(id, deadline);
        BrokerRecord record = reveal_again(operation, rights, version);
        if (is_settled(record)) {
            note_refresh(operation, "by_another");
            return record;
        }
    }
}

void TokenRefresh::cancel() noexcept {
    cancelled_ = true;
    endpoints_.cancel();
}

void TokenRefresh::refuse_paused(server::Operation& operation, bool refused) {
    note_refresh(operation, refused ? "refused" : "failed");
    if (refused) {
        throw Error(ErrorCode::failed_precondition, "the token endpoint refuses to refresh",
                    "it refused a moment ago and was not asked again");
    }
    throw Error(ErrorCode::unavailable, "the token could not be refreshed",
                "that failed a moment ago and was not tried again");
}

void TokenRefresh::wait_while_held(const CredentialId& id, Deadline deadline) {
    do {
        if (cancelled_ || std::chrono::steady_clock::now() >= deadline) {
            throw Error(ErrorCode::unavailable, "the token is being refreshed: try again");
        }
        std::this_thread::sleep_for(lease_look);
    } while (leases_.is_held(id, parts_.clock.now()));
}

BrokerRecord TokenRefresh::reveal_again(server::Operation& operation, const RefreshRights& rights,
                                        std::uint64_t& version) {
    const Revealed revealed =
        parts_.service.reveal(rights.reveal, std::nullopt, operation.traceparent());
    version = revealed.version.version;
    note_version(operation, revealed.version);
    note_data_key(operation, revealed.key_from_cache);
    return BrokerRecord::from_secret(revealed.secret);
}

// With the lease. Another may have refreshed between the caller's look and the lease: so a look
// first.
BrokerRecord TokenRefresh::refresh_held(server::Operation& operation, const RefreshRights& rights,
                                        const CredentialId& id, const std::string& holder) {
    try {
        std::uint64_t version = 0;
        BrokerRecord record = reveal_again(operation, rights, version);
        if (is_settled(record)) {
            note_refresh(operation, "by_another");
        } else {
            // Before the provider is asked: it may make the old token void.
            note_refresh(operation, "begun");
            operation.record_intent();
            const FreshToken token = ask(operation, id, holder, *record.refresh());
            record = store(operation, rights, record.with(token), version);
        }
        leases_.release(id, holder);
        if (is_settled(record)) return record;
        throw Error(ErrorCode::unavailable, "the token has expired again: try again");
    } catch (const Error&) {
        leases_.release(id, holder);  // a pause stays
        throw;
    }
}

// Whether there is nothing to refresh. Who stores a record without an order meanwhile has it his
// way.
bool TokenRefresh::is_settled(const BrokerRecord& record) const {
    return !record.is_expired(parts_.clock.now()) || !record.refresh();
}

FreshToken TokenRefresh::ask(server::Operation& operation, const CredentialId& id,
                             const std::string& holder, const RefreshOrder& order) {
    try {
        return endpoints_.ask(order);
    } catch (const Error& error) {
        const bool refused = error.code() == ErrorCode::failed_precondition;
        note_refresh(operation, refused ? "refused" : "failed");
        parts_.metrics.count("token_refreshes_failed");
        leases_.pause(id, holder, refused, parts_.clock.now() + config_.pause);
        throw;
    }
}

// The provider may have made the old refresh token void, so trouble here is tried once more. A
// store whose outcome is unknown shows as another's then, and what was stored is what counts.
BrokerRecord TokenRefresh::store(server::Operation& operation, const RefreshRights& rights,
                                 const BrokerRecord& record, std::uint64_t version) {
    for (const bool last : {false, true}) {
        StoreRequest wanted;
        wanted.secret = record.secret();
        wanted.metadata = record.metadata();
        wanted.expires_at = record.expires_at();
        wanted.if_version = version;
        try {
            const auto stored =
                parts_.service.store(rights.refresh, wanted, operation.traceparent());
            note_version(operation, stored.info.current());
            note_copy(operation, stored.copy);
            note_refresh(operation, "refreshed");
            parts_.metrics.count("tokens_refreshed");
            return record;
        } catch (const Error& error) {
            if (error.code() == ErrorCode::failed_precondition) break;
            if (last || error.code() != ErrorCode::unavailable) {
                note_refresh(operation, "not_stored");
                throw;
            }
        }
    }
    note_refresh(operation, "by_another");
    return reveal_again(operation, rights, version);
}

}  // namespace vault::compat
