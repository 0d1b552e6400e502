// The life of keys on the wire: change, rotate, enable and disable, delete, mark as compromised.
#include "base/error.h"
#include "base/json.h"
#include "kms/actions.h"
#include "kms/api.h"
#include "kms/api_limits.h"
#include "kms/context_rule_json.h"
#include "kms/key_json.h"
#include "server/answer.h"

namespace kms {
namespace {

constexpr std::size_t max_order_body_bytes = 1024;

KeyChange read_change(const base::JsonValue& body) {
    base::JsonReader reader(body);
    KeyChange wanted;
    wanted.if_revision = static_cast<std::uint64_t>(
        reader.required_integer("if_revision", 1, std::numeric_limits<std::int64_t>::max()));
    if (const auto text = reader.optional_string("description", max_description_bytes, 0)) {
        wanted.description = std::string(*text);
    }
    if (reader.has("tags")) {
        wanted.tags = reader.optional_string_map("tags", max_tags, max_tags_bytes);
    }
    if (const auto* value = reader.optional_value("rotation_period_days")) {
        wanted.rotation_period_days.emplace();
        if (!value->is_null()) {
            wanted.rotation_period_days->emplace(static_cast<int>(
                reader.required_integer("rotation_period_days", 1, max_rotation_period_days)));
        }
    }
    if (const auto* value = reader.optional_value("context_rule")) {
        wanted.context_rule.emplace();
        if (!value->is_null()) {
            base::JsonReader rule(*value, reader.path_of("context_rule"));
            wanted.context_rule = read_context_rule(rule);
        }
    }
    reader.refuse_unknown();
    return wanted;
}

void refuse_fields(const server::Request& request) {
    const base::JsonValue body = parse_optional_body(request, max_order_body_bytes);
    base::JsonReader(body).refuse_unknown();
}

}  // namespace

std::vector<server::Route> Api::lifecycle_routes() {
    using server::Access;
    using server::Method;
    std::vector<server::Route> rows;
    // Every row twice: by the key's id and by an alias.
    const auto add = [&](Method method, std::string_view by_id, std::string_view by_alias,
                         server::Action action, std::size_t max_body, std::string_view summary,
                         const server::Handler& handler) {
        for (const std::string_view pattern : {by_id, by_alias}) {
            rows.push_back(server::changing(
                {method, pattern, action, Access::authenticated, max_body, summary, handler}));
        }
    };
    const auto transition = [this](server::Action action, Transition to) {
        return [this, action, to](server::Operation& operation, const server::Request& request) {
            return go_to_state(operation, request, action, to);
        };
    };
    add(Method::PATCH, "/v1/keys/{key}", "/v1/keys/alias/{alias}", change_key, max_key_body_bytes,
        "Change description, tags, rotation period or context rule of a master key",
        [this](auto& operation, const auto& request) { return change(operation, request); });
    add(Method::POST, "/v1/keys/{key}/rotate", "/v1/keys/alias/{alias}/rotate", rotate_key,
        max_order_body_bytes, "Make a new version of a master key the primary one",
        [this](auto& operation, const auto& request) { return rotate(operation, request); });
    add(Method::POST, "/v1/keys/{key}/enable", "/v1/keys/alias/{alias}/enable", enable_key,
        max_order_body_bytes, "Enable a disabled master key",
        transition(enable_key, &KeyLifecycle::enable));
    add(Method::POST, "/v1/keys/{key}/disable", "/v1/keys/alias/{alias}/disable", disable_key,
        max_order_body_bytes, "Disable a master key",
        transition(disable_key, &KeyLifecycle::disable));
    add(Method::POST, "/v1/keys/{key}/schedule-deletion",
        "/v1/keys/alias/{alias}/schedule-deletion", schedule_key_deletion, max_order_body_bytes,
        "Take a master key out of use and destroy it after a number of days",
        [this](auto& operation, const auto& request) {
            return schedule_deletion(operation, request);
        });
    add(Method::POST, "/v1/keys/{key}/cancel-deletion", "/v1/keys/alias/{alias}/cancel-deletion",
        cancel_key_deletion, max_order_body_bytes, "Keep a master key that was to be destroyed",
        transition(cancel_key_deletion, &KeyLifecycle::cancel_deletion));
    add(Method::POST, "/v1/keys/{key}/mark-compromised", "/v1/keys/alias/{alias}/mark-compromised",
        mark_key_compromised, max_order_body_bytes, "Mark a master key as compromised, for good",
        transition(mark_key_compromised, &KeyLifecycle::mark_compromised));
    return rows;
}

server::Response Api::order_once(server::Operation& operation, const server::Request& request,
                                 const base::Uuid& key_id,
                                 const std::function<KeyPointer(const OrderContext&)>& order) {
    const auto answer = [](const Key& key) {
        base::JsonWriter body;
        write_key(body, key);
        return server::json_answer(std::move(body));
    };
    const auto work = [&](const std::string& request_id) {
        const KeyPointer key = order(order_context(request_id, operation));
        operation.set_fact("state", std::string(to_string(key->state)));
        operation.set_fact("revision", std::to_string(key->revision));
        return answer(*key);
    };
    const auto again = [&] {
        const KeyPointer key = parts_.catalogue.snapshot()->find(key_id);
        if (key == nullptr) throw base::Error(base::ErrorCode::not_found, "there is no such key");
        return answer(*key);
    };
    return parts_.idempotency.once(operation, request, work, again, key_id.to_string());
}

// With other tags two more questions: about the key as it is, and as it would be. Who may change a
// key may not therefore bring it to where his rights are, nor out of what a rule says of its tags.
server::Response Api::change(server::Operation& operation, const server::Request& request) {
    server::refuse_query(request);
    const base::JsonValue body = parse_body(request, max_key_body_bytes);
    const KeyChange wanted = read_change(body);
    const AllowedKey key = authorize_key(operation, request, change_key);
    std::optional<server::Grant> tagging;
    if (wanted.tags && *wanted.tags != key.grant.resource().tags) {
        tagging = parts_.authorizer.authorize(operation, tag_key, key.grant.resource());
        server::Resource retagged = key.grant.resource();
        retagged.tags = *wanted.tags;
        static_cast<void>(parts_.authorizer.authorize(operation, tag_key, std::move(retagged)));
    }
    return order_once(operation, request, key.id, [&](const OrderContext& order) {
        order.record_intent({{"key_id", key.id.to_string()}});
        return parts_.lifecycle.change(key.grant, tagging ? &*tagging : nullptr, key.id, wanted,
                                       order);
    });
}

server::Response Api::rotate(server::Operation& operation, const server::Request& request) {
    server::refuse_query(request);
    const base::JsonValue body = parse_optional_body(request, max_order_body_bytes);
    base::JsonReader reader(body);
    std::optional<std::uint32_t> if_primary;
    if (const auto number = reader.optional_integer("if_primary_version", 1,
                                                    std::numeric_limits<std::int32_t>::max())) {
        if_primary = static_cast<std::uint32_t>(*number);
    }
    reader.refuse_unknown();
    const AllowedKey key = authorize_key(operation, request, rotate_key);
    return order_once(operation, request, key.id, [&](const OrderContext& order) {
        KeyPointer rotated = parts_.lifecycle.rotate(key.grant, key.id, if_primary, order);
        operation.set_fact("key_version", std::to_string(rotated->primary_version));
        return rotated;
    });
}

server::Response Api::go_to_state(server::Operation& operation, const server::Request& request,
                                  server::Action action, Transition transition) {
    server::refuse_query(request);
    refuse_fields(request);
    const AllowedKey key = authorize_key(operation, request, action);
    return order_once(operation, request, key.id, [&](const OrderContext& order) {
        order.record_intent({{"key_id", key.id.to_string()}});
        return (parts_.lifecycle.*transition)(key.grant, key.id, order);
    });
}

server::Response Api::schedule_deletion(server::Operation& operation,
                                        const server::Request& request) {
    server::refuse_query(request);
    const base::JsonValue body = parse_optional_body(request, max_order_body_bytes);
    base::JsonReader reader(body);
    const auto days =
        static_cast<int>(reader.optional_integer("days", min_deletion_days, max_deletion_days)
                             .value_or(max_deletion_days));
    reader.refuse_unknown();
    const AllowedKey key = authorize_key(operation, request, schedule_key_deletion);
    return order_once(operation, request, key.id, [&](const OrderContext& order) {
        order.record_intent({{"key_id", key.id.to_string()}});
        KeyPointer scheduled = parts_.lifecycle.schedule_deletion(key.grant, key.id, days, order);
        // Somebody may have cancelled it since.
        if (scheduled->deletion_at) {
            operation.set_fact("deletion_at", base::to_rfc3339(*scheduled->deletion_at));
        }
        return scheduled;
    });
}

}  // namespace kms
