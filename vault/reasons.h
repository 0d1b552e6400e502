// Who must say why when he has a secret revealed: the configuration's "reveal.reason_required". A
// reason is a line of text for the audit record; nothing judges it.
#pragma once

#include <string_view>
#include <vector>

#include "server/operation.h"
#include "server/policy_rules.h"

namespace base {
class JsonReader;
}

namespace vault {

inline constexpr std::size_t max_reason_bytes = 256;

// True for 1 to 256 bytes of UTF-8 that show as one line as they stand: not blanks alone, no
// control characters, no line or paragraph separators, nothing that turns the direction of text.
bool is_reason(std::string_view text) noexcept;

// Whom it is about, as bindings of a policy say it, and which credentials.
struct ReasonRule {
    server::Binding callers;
    std::vector<server::ResourcePattern> resources;
};

// Immutable.
class ReasonRules {
public:
    explicit ReasonRules(std::vector<ReasonRule> rules = {}) : rules_(std::move(rules)) {}

    // Whether `caller` needs a reason for `resource`. What nobody can know (a placeholder without a
    // value) asks for one.
    bool ask(const server::Caller& caller, const server::Resource& resource) const;

    // Whether any rule is about tags: else a resource's tags need not be looked up.
    bool ask_for_tags() const;

private:
    std::vector<ReasonRule> rules_;
};

// The array `name` of `reader`, which may be absent. Throws invalid_argument naming the field.
ReasonRules read_reason_rules(base::JsonReader& reader, std::string_view name);

}  // namespace vault
