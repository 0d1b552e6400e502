// The collection of a Directus in which an older service kept the sealed credentials of profiles:
// one item for each profile, by its id, with the fields "encrypted_credentials",
// "credentials_version" and "credentials_updated_at". It is shown ciphertext only, and what it
// gives back is believed as far as it opens. The HTTP library is server/https_client's.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/secret_bytes.h"
#include "server/config.h"
#include "server/https_client.h"
#include "vault/copies.h"

namespace vault::compat {

struct DirectusConfig {
    server::HttpsConfig
        https;  // of the Directus; the deadline is that of all exchanges of a request
    std::string collection;
    server::SecretSource token;      // a static token of a user of its own
    bool reads_back = false;         // reveals open what is kept there
    std::size_t max_concurrent = 8;  // exchanges at once; the rest is refused
};

struct DirectusItem {
    std::string sealed;
    std::uint64_t version = 0;
};

// What an answer to a read says. Throws not_found when it holds nothing, integrity_failure when it
// holds no version, invalid_argument when it is no JSON.
DirectusItem parse_item(std::string_view body);
// Whether an answer to a write tells back that the item has this version; 0: none.
bool tells_version(std::string_view body, std::uint64_t version);

// Thread-safe. The copies of profiles' credentials: owners are UUIDs, as they are written in lower
// case, and the name is one for all.
class DirectusItems final : public Copies {
public:
    // Reads the token. Throws invalid_argument for one that can't be read or can't stand in a
    // head, a URL that is none or a CA file that holds none.
    DirectusItems(DirectusConfig config, std::string credential_name);

    bool reads_back() const { return config_.reads_back; }

    std::optional<CredentialId> of(const std::string& owner) const override;

    // PATCH /items/<collection>/<profile>: of a version that it holds, or with null in every field.
    // Within the deadline in all. Throws unavailable when the item is not known to be so: refused,
    // no such item to write to, too slow, no answer that tells it back, too many at once. No
    // message or detail holds anything that was sent or received.
    void follow(const CredentialId& id, const Look& look) const override;

    // GET of the same. Throws not_found when there is nothing, integrity_failure for what this
    // vault did not write, and unavailable as above.
    DirectusItem read(const std::string& profile) const;

    // For the end of a program: exchanges end now, and so do later ones, with unavailable.
    void cancel() const noexcept { https_.cancel(); }

private:
    using Deadline = std::chrono::steady_clock::time_point;

    Deadline deadline() const { return std::chrono::steady_clock::now() + config_.https.deadline; }
    void write(const std::string& profile, const StoredVersion& stored, Deadline until) const;
    void empty(const std::string& profile, Deadline until) const;
    bool is_missing(const std::string& profile, Deadline until) const;
    server::HttpsAnswer patch(const std::string& profile, std::string_view body,
                              Deadline until) const;
    server::HttpsAnswer exchange(server::Method method, const std::string& more,
                                 std::string_view body, Deadline until) const;

    const DirectusConfig config_;
    const std::string name_;  // of the credentials
    const server::HttpsClient https_;
    base::SecretBytes authorization_;  // the header's value
    mutable std::atomic<std::size_t> under_way_ = 0;
};

}  // namespace vault::compat
