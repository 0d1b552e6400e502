#include "server/policy_conditions.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>

namespace server {
namespace {

using base::Error;
using base::ErrorCode;

Fit certain(bool holds) { return holds ? Fit::yes : Fit::no; }

Fit named_match(const Conditions::Named& wanted, const std::map<std::string, std::string>& given,
                const Caller& caller, std::string_view what, std::string& failed) {
    Fit all = Fit::yes;
    for (const auto& [name, globs] : wanted) {
        const auto found = given.find(name);
        const Fit one = found == given.end() ? Fit::no : any_match(globs, found->second, &caller);
        if (one < all) {
            all = one;
            failed = std::string(what) + "." + name;
        }
    }
    return all;
}

}  // namespace

Network::Address Network::parse(std::string_view text) {
    // A scope (fe80::1%eth0) says by which interface, not who.
    const std::string plain(text.substr(0, text.find('%')));
    Address address;
    if (::inet_pton(AF_INET, plain.c_str(), address.bytes.data()) == 1) {
        address.size = 4;
    } else if (::inet_pton(AF_INET6, plain.c_str(), address.bytes.data()) == 1) {
        address.size = 16;
        constexpr std::array<std::uint8_t, 12> mapped{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF};
        if (std::equal(mapped.begin(), mapped.end(), address.bytes.begin())) {
            std::copy(address.bytes.begin() + 12, address.bytes.end(), address.bytes.begin());
            address.size = 4;
        }
    }
    return address;
}

Network::Network(std::string_view text) : text_(text) {
    const std::size_t slash = text.find('/');
    const std::string_view length = slash == std::string_view::npos ? "" : text.substr(slash + 1);
    base_ = parse(text.substr(0, slash));
    const auto [end, error] = std::from_chars(length.data(), length.data() + length.size(), bits_);
    if (base_.size == 0 || error != std::errc() || end != length.data() + length.size() ||
        bits_ > base_.size * 8 || text.find('%') != std::string_view::npos) {
        throw Error(ErrorCode::invalid_argument, "must be a network like 10.0.0.0/8 or fd00::/8");
    }
    for (unsigned bit = bits_; bit < base_.size * 8; ++bit) {
        if ((base_.bytes[bit / 8] & (0x80U >> (bit % 8))) != 0) {
            throw Error(ErrorCode::invalid_argument, "has bits set behind its prefix");
        }
    }
}

Fit Network::holds(std::string_view address) const {
    const Address peer = parse(address);
    if (peer.size == 0) return Fit::unknown;
    if (peer.size != base_.size) return Fit::no;
    const std::size_t whole = bits_ / 8;
    if (!std::equal(base_.bytes.begin(), base_.bytes.begin() + static_cast<std::ptrdiff_t>(whole),
                    peer.bytes.begin())) {
        return Fit::no;
    }
    const unsigned rest = bits_ % 8;
    if (rest == 0) return Fit::yes;
    const unsigned mask = 0xFFU & (0xFFU << (8 - rest));
    return certain((base_.bytes[whole] & mask) == (peer.bytes[whole] & mask));
}

bool TimeWindow::holds(base::Time now) const {
    const auto day = std::chrono::floor<std::chrono::days>(now);
    if (!days[std::chrono::weekday(day).c_encoding()]) return false;
    return now - day >= from && now - day < to;
}

Fit Conditions::of_caller(const Caller& caller, base::Time now) const {
    if (!authentication.empty() && std::find(authentication.begin(), authentication.end(),
                                             caller.method) == authentication.end()) {
        return Fit::no;
    }
    if (!time.empty() && std::none_of(time.begin(), time.end(),
                                      [now](const TimeWindow& one) { return one.holds(now); })) {
        return Fit::no;
    }
    Fit best = certain(network.empty());
    for (const Network& one : network) best = std::max(best, one.holds(caller.address));
    return best;
}

Fit Conditions::of_context(const PolicyQuestion& question, std::string& failed) const {
    const auto& given = question.context;
    for (const std::string& name : context_required) {
        if (given.contains(name)) continue;
        failed = "context_required";
        return Fit::no;
    }
    Fit all = Fit::yes;
    if (!context_only.empty()) {
        for (const auto& entry : given) {
            all = std::min(all, any_match(context_only, entry.first, &question.caller));
        }
        if (all != Fit::yes) failed = "context_only";
    }
    return std::min(all, named_match(context, given, question.caller, "context", failed));
}

Fit Conditions::evaluate(const PolicyQuestion& question, std::string* failed) const {
    std::string unwanted;
    std::string& name = failed != nullptr ? *failed : unwanted;
    Fit all = of_caller(question.caller, question.now);
    if (all != Fit::yes) name = "network, time or authentication";
    if (all == Fit::no) return all;
    all = std::min(all, of_context(question, name));
    if (!owner.empty()) {
        const Fit fits = question.resource.owner.empty()
                             ? Fit::no
                             : any_match(owner, question.resource.owner, &question.caller);
        if (fits < all) name = "owner";
        all = std::min(all, fits);
    }
    return std::min(all, of_tags(question, name));
}

Fit Conditions::of_tags(const PolicyQuestion& question, std::string& failed) const {
    if (tags.empty() || !question.resource.of_many)
        return named_match(tags, question.resource.tags, question.caller, "tags", failed);
    failed = "tags";
    return Fit::unknown;
}

}  // namespace server
