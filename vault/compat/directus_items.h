// The collection of a Directus in which an older service kept the sealed credentials of profiles:
// one item for each profile, by its id, with the fields "encrypted_credentials",
// "credentials_version" and "credentials_updated_at". It is shown ciphertext only, and what it
// gives back is believed as far as it opens. The HTTP library is server/https_client's.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "base/clock.h"
#include "base/secret_bytes.h"
#include "server/config.h"
#include "server/https_client.h"

namespace vault::compat {

struct DirectusConfig {
    server::HttpsConfig https;  // of the Directus, and the deadline of one exchange
    std::string collection;
    server::SecretSource token;      // a static token of a user of its own
    bool reads_back = false;         // reveals open what is kept there
    std::size_t max_concurrent = 8;  // exchanges at once; the rest is refused
};

struct DirectusItem {
    std::string sealed;
    std::uint64_t version = 0;
};

// Thread-safe.
class DirectusItems {
public:
    // Reads the token. Throws invalid_argument for one that can't be read or can't stand in a
    // head, a URL that is none or a CA file that holds none.
    explicit DirectusItems(DirectusConfig config);

    bool reads_back() const { return config_.reads_back; }

    // PATCH /items/<collection>/<profile>. Throws unavailable when it is not known to be there:
    // refused, no such item, too slow, no answer that tells it back, too many at once. No message
    // or detail holds anything that was sent or received.
    void write(const std::string& profile, const std::string& sealed, std::uint64_t version,
               base::Time updated_at) const;

    // GET of the same. Throws not_found when there is nothing, integrity_failure for what this
    // vault did not write, and unavailable as above.
    DirectusItem read(const std::string& profile) const;

private:
    server::HttpsAnswer exchange(server::Method method, const std::string& more,
                                 std::string_view body) const;

    const DirectusConfig config_;
    const server::HttpsClient https_;
    base::SecretBytes authorization_;  // the header's value
    mutable std::atomic<std::size_t> under_way_ = 0;
};

}  // namespace vault::compat
