// What the headers of answers said of the service's audit logs, "<origin> <size> <root>", and
// whether the next one can be true beside it. No file, no network: cheap enough for each answer.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "kms/witness/conflict.h"
#include "server/checkpoint.h"

namespace kms {

// Not thread-safe.
class SeenHeads {
public:
    struct News {
        bool is_head = true;
        bool is_worth_asking = false;           // something that no signed checkpoint says yet
        std::optional<LogConflict> conflict{};  // and is not remembered
    };
    struct Head {
        server::Checkpoint checkpoint;
        bool must_be_known = false;  // by the answer to the call that was asked about
    };

    // So many logs the service has: one more contradicts. What is told with know() counts, and is
    // none too many.
    explicit SeenHeads(std::size_t logs) : logs_(logs) {}

    // A checkpoint that was kept: every call from now on must know it.
    void know(const server::Checkpoint& kept);
    // Likewise one that was proven meanwhile: every call that begins from now on.
    void prove(const server::Checkpoint& proven);

    // What a call is to remember from its beginning to its answer.
    std::uint64_t epoch() const noexcept { return epoch_; }
    // An answer to a call that began at `before`. A head that is none accuses nobody.
    News see(std::uint64_t before, std::string_view head);

    // The largest of that log, beside a call that began at `before`; empty when there is none.
    std::optional<Head> of(const std::string& origin, std::uint64_t before) const;

private:
    struct Seen {
        server::Checkpoint checkpoint;
        std::uint64_t epoch = 0;  // calls that began with this number or a later one must know it
    };
    const std::size_t logs_;
    std::map<std::string, Seen> seen_;
    std::string last_head_;  // most answers say the same as the one before
    std::uint64_t epoch_ = 0;
};

}  // namespace kms
