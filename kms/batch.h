// What the calls on many envelopes have in common on their way through the native dialect: a right
// is decided once for each key and context, not for each item, and the audit record names the items
// in rows.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "kms/api.h"
#include "kms/envelope.h"
#include "server/authorizer.h"

namespace kms {

// What was decided about one key and context.
struct Verdict {
    std::optional<server::Grant> grant;
    std::optional<server::Grant> compromised;  // use_compromised_key, where it is needed and given
    // Why there is no grant, for who may know; see refusal().
    std::optional<base::Error> error;
    std::size_t decision = 0;  // its place in Operation::decided()

    // What the caller hears when there is no grant.
    const base::Error& refusal() const;
};

// The rights of one call. One thread; operation and authorizer must outlive it. References that it
// gives stay good as long as it lives.
class Rights {
public:
    Rights(const server::Authorizer& authorizer, server::Operation& operation)
        : authorizer_(authorizer), operation_(operation) {}

    // Throws permission_denied when the caller may do `action` on no key at all: nothing of what he
    // sent is looked at then.
    void require_any(server::Action action) const;

    // The same context twice is one. Throws invalid_argument as canonical_context().
    const Context& context(EncryptionContext entries);

    // As find_named(), looked for once.
    const NamedKey& named(const CatalogueSnapshot& snapshot, std::string_view name,
                          std::string_view field);

    // For opening what names `key` itself. A key that the caller may not use looks like one that
    // does not exist (integrity_failure), unless the caller may describe it.
    const Verdict& to_open(server::Action action, const KeyPointer& key, const Context& context);
    // For a key that the caller names. No right: permission_denied, whether it exists or not; no
    // such key: not_found.
    const Verdict& to_use(server::Action action, const NamedKey& key, const Context& context);

private:
    // Action, key, context.
    template <typename Key>
    using Verdicts = std::map<std::tuple<std::string_view, Key, const Context*>, Verdict>;
    Verdict decide_open(server::Action action, const KeyPointer& key, const Context& context);
    Verdict decide_use(server::Action action, const NamedKey& key, const Context& context);

    struct ByBytes {
        bool operator()(const Context& left, const Context& right) const {
            return left.canonical < right.canonical;
        }
    };

    const server::Authorizer& authorizer_;
    server::Operation& operation_;
    std::set<Context, ByBytes> contexts_;
    std::map<std::string, NamedKey, std::less<>> named_;
    Verdicts<base::Uuid> opening_;
    Verdicts<std::string> using_;  // by the name that was given
};

// One version of one key, or nothing for what is no envelope.
struct Named {
    base::Uuid key_id;
    std::uint32_t version = 0;  // 0: nothing
    // NOLINTNEXTLINE(modernize-use-nullptr): the linter mistakes the comparison's zero
    auto operator<=>(const Named&) const = default;
    std::string to_string() const;  // "<key id>/<version>", empty for nothing
};

// Collects what came of the items of a call and writes it into the operation: one row for all
// items that have everything in common, in the order of their first.
class ItemRows {
public:
    // The next item. `traceparent`: of its own trace, if it has one.
    void add(const Named& resource, const base::Error* error, const Named& made,
             std::optional<std::size_t> decision, std::string traceparent = {});
    // To be called once, in the end.
    void write_to(server::Operation& operation) const;

private:
    // What items of one row have in common: resource, outcome, what was made of it, decision + 1,
    // trace.
    using Common = std::tuple<Named, std::string_view, Named, std::size_t, std::string>;
    struct Row {
        const Common* common;
        std::vector<std::pair<std::size_t, std::size_t>> runs;  // first and last position
    };

    std::size_t next_ = 0;
    std::map<Common, std::size_t> places_;
    std::vector<Row> rows_;
};

}  // namespace kms
