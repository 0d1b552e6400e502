// What a rule asks beside action and resource: "when" and "unless" of a policy file. Values are
// compared here; no file is read.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server/policy.h"
#include "server/policy_pattern.h"

namespace server {

// An IPv4 or IPv6 network in CIDR notation (RFC 4632, RFC 4291). An IPv4 address that comes mapped
// into IPv6 (::ffff:10.0.0.1) is an IPv4 address.
class Network {
public:
    // Throws invalid_argument: no network, or bits set behind its prefix.
    explicit Network(std::string_view text);

    // Unknown when `address` is none, as over a UNIX socket.
    Fit holds(std::string_view address) const;
    const std::string& text() const { return text_; }

private:
    struct Address {
        std::array<std::uint8_t, 16> bytes{};
        std::size_t size = 0;  // 4 or 16; 0: none
    };
    static Address parse(std::string_view text);

    std::string text_;
    Address base_;
    unsigned bits_ = 0;
};

// Hours of the day on days of the week, in UTC.
struct TimeWindow {
    std::array<bool, 7> days{};     // from Sunday, as std::chrono::weekday counts
    std::chrono::minutes from{0};   // of the day
    std::chrono::minutes to{1440};  // the first that is outside

    bool holds(base::Time now) const;
};

// All that is given must hold; what is empty asks nothing.
struct Conditions {
    using Named = std::vector<std::pair<std::string, std::vector<Glob>>>;

    Named context;                              // the entry is there and fits one of the patterns
    std::vector<std::string> context_required;  // these entries are there
    std::vector<Glob> context_only;             // every entry's key fits one of these
    std::vector<Glob> owner;                    // of the resource
    Named tags;                                 // of the resource, as context
    std::vector<Network> network;               // the peer's address is in one of these
    std::vector<TimeWindow> time;
    std::vector<AuthenticationMethod> authentication;
    std::string text;  // as in the file, compact: for people who compare policies

    bool empty() const { return text.empty(); }
    // Whether anything does hang on the resource or the context.
    bool asks_resource() const {
        return !context.empty() || !context_required.empty() || !context_only.empty() ||
               !owner.empty() || !tags.empty();
    }
    // What does not hang on the resource: network, time, authentication.
    Fit of_caller(const Caller& caller, base::Time now) const;
    // `failed`, when given, becomes the name of the first that does not hold for certain.
    Fit evaluate(const PolicyQuestion& question, std::string* failed = nullptr) const;

private:
    Fit of_context(const PolicyQuestion& question, std::string& failed) const;
    Fit of_tags(const PolicyQuestion& question, std::string& failed) const;
};

}  // namespace server
