#include "kms/batch.h"

#include "base/error.h"
#include "kms/actions.h"
#include "kms/states.h"

namespace kms {

using base::Error;
using base::ErrorCode;

const Error& Verdict::refusal() const {
    static const Error unknown = base::decryption_failed();
    return error ? *error : unknown;
}

void Rights::require_any(server::Action action) const {
    if (authorizer_.may_ever(operation_, action)) return;
    server::Resource any_key;
    any_key.kind = key_kind;
    any_key.id = "*";
    static_cast<void>(authorizer_.authorize(operation_, action, std::move(any_key)));
}

const Context& Rights::context(EncryptionContext entries) {
    return *contexts_.emplace(std::move(entries)).first;
}

const NamedKey& Rights::named(const CatalogueSnapshot& snapshot, std::string_view name,
                              std::string_view field) {
    const auto known = named_.find(name);
    if (known != named_.end()) return known->second;
    return named_.emplace(name, find_named(snapshot, name, field)).first->second;
}

const Verdict& Rights::to_open(server::Action action, const KeyPointer& key,
                               const Context& context) {
    const auto question = std::make_tuple(action.word, key->id, &context);
    const auto known = opening_.find(question);
    if (known != opening_.end()) return known->second;
    return opening_.emplace(question, decide_open(action, key, context)).first->second;
}

const Verdict& Rights::to_use(server::Action action, const NamedKey& key, const Context& context) {
    const server::Resource& resource = key.resource;
    // An alias may look like an id: an unknown one keeps its prefix.
    const auto question = std::make_tuple(
        action.word, resource.id.empty() ? "alias/" + resource.aliases.front() : resource.id,
        &context);
    const auto known = using_.find(question);
    if (known != using_.end()) return known->second;
    return using_.emplace(question, decide_use(action, key, context)).first->second;
}

Verdict Rights::decide_open(server::Action action, const KeyPointer& key, const Context& context) {
    Verdict verdict;
    verdict.decision = operation_.decided().size();
    try {
        verdict.grant =
            authorizer_.authorize(operation_, action, key_resource(*key), context.entries);
        if (key->state == KeyState::compromised) {
            try {
                verdict.compromised = authorizer_.authorize(operation_, use_compromised_key,
                                                            key_resource(*key), context.entries);
            } catch (const Error& error) {
                if (error.code() != ErrorCode::permission_denied) throw;
            }
        }
    } catch (const Error& error) {
        if (error.code() != ErrorCode::permission_denied) throw;
        if (authorizer_.would_allow(operation_, describe_key, key_resource(*key)))
            verdict.error = error;
    }
    return verdict;
}

Verdict Rights::decide_use(server::Action action, const NamedKey& key, const Context& context) {
    Verdict verdict;
    verdict.decision = operation_.decided().size();
    try {
        server::Grant grant =
            authorizer_.authorize(operation_, action, key.resource, context.entries);
        if (key.key == nullptr) refuse_unknown_key(authorizer_, operation_, key.resource);
        verdict.grant = std::move(grant);
    } catch (const Error& error) {
        if (error.code() != ErrorCode::permission_denied && error.code() != ErrorCode::not_found) {
            throw;
        }
        verdict.error = error;
    }
    return verdict;
}

std::string Named::to_string() const {
    return version == 0 ? "" : key_id.to_string() + "/" + std::to_string(version);
}

void ItemRows::add(const Named& resource, const Error* error, const Named& made,
                   std::optional<std::size_t> decision, std::string traceparent) {
    const std::size_t position = next_++;
    const std::string_view outcome = error == nullptr ? "ok" : base::to_string(error->code());
    const auto [place, is_new] = places_.emplace(
        Common{resource, outcome, made, decision ? *decision + 1 : 0, std::move(traceparent)},
        rows_.size());
    if (is_new) {
        rows_.push_back({&place->first, {{position, position}}});
        return;
    }
    auto& runs = rows_[place->second].runs;
    if (runs.back().second + 1 == position) {
        runs.back().second = position;
    } else {
        runs.emplace_back(position, position);
    }
}

void ItemRows::write_to(server::Operation& operation) const {
    for (const Row& row : rows_) {
        const auto& [resource, outcome, made, decision, traceparent] = *row.common;
        server::ItemOutcome item{resource.to_string(), std::string(outcome), made.to_string()};
        item.traceparent = traceparent;
        for (const auto& [first, last] : row.runs) {
            if (!item.items.empty()) item.items += ',';
            item.items += std::to_string(first);
            if (last != first) item.items += '-' + std::to_string(last);
        }
        if (decision != 0) item.decision = decision - 1;
        operation.add_item(std::move(item));
    }
}

}  // namespace kms
