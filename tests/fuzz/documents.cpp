// JSON that a reader of its own makes something of: budgets, context rules, bodies of the older
// services' shapes, rows of the stores, configuration. What is accepted is written and read again
// the same. The first byte says which.
#include "kms/context_rule_json.h"
#include "kms/sql_store_rows.h"
#include "server/budget_tiers.h"
#include "server/config.h"
#include "server/identity_config.h"
#include "tests/fuzz/only.h"
#include "vault/compat/broker_record.h"
#include "vault/compat/config.h"
#include "vault/compat/shared_secret_body.h"
#include "vault/reasons.h"
#include "vault/request_body.h"
#include "vault/sealed.h"
#include "vault/sql_rows.h"

namespace {

using base::ErrorCode;

void check_budgets(std::string_view text) {
    server::PolicyWords words({"unwrap_data_key"});
    words.add("key", {"list_keys"});
    fuzz::allow(ErrorCode::invalid_argument, [&] {
        const server::BudgetTiers tiers = server::parse_budgets(text, words);
        fuzz::require(tiers.hash().size() == 64);
        fuzz::require(tiers.anchor_day() >= 1 && tiers.anchor_day() <= server::max_anchor_day);
        server::Caller caller;
        caller.id = "spiffe://strongroom/app";
        caller.claims["roles"] = {"operator"};
        fuzz::require(tiers.tier_of(caller) == tiers.tier_of(caller));
    });
}

void check_rule(std::string_view text) {
    fuzz::allow(ErrorCode::invalid_argument, [&] {
        const base::JsonValue value = base::parse_json(text);
        base::JsonReader reader(value);
        const kms::ContextRule rule = kms::read_context_rule(reader);
        base::JsonWriter out;
        kms::write_context_rule(out, rule);
        const base::JsonValue written = base::parse_json(out.text(), {.bytes = out.text().size()});
        base::JsonReader again(written);
        fuzz::require(kms::read_stored_context_rule(again) == rule);
    });
}

// Texts in rows of both stores, where a hand may have written.
void check_rows(const std::string& text) {
    const auto read = [](auto call) { fuzz::allow(ErrorCode::failed_precondition, call); };
    read([&] {
        const auto tags = kms::text_to_tags(text, "id");
        fuzz::require(kms::text_to_tags(kms::tags_to_text(tags), "id") == tags);
    });
    read([&] {
        const kms::ContextRule rule = kms::text_to_context_rule(text, "id");
        fuzz::require(kms::text_to_context_rule(kms::context_rule_to_text(rule), "id") == rule);
    });
    read([&] {
        const hsm::Encrypted answer = kms::text_to_known_answer(text, "id");
        fuzz::require(kms::known_answer_to_text(answer) == text);
    });
    fuzz::allow(ErrorCode::integrity_failure, [&] {
        const vault::CredentialId id{"acme", "mail"};
        const auto tags = vault::text_to_tags(id, text);
        fuzz::require(vault::are_tags(tags));
        fuzz::require(vault::text_to_tags(id, vault::tags_to_text(tags)) == tags);
    });
}

server::Request request_with(std::string_view body) {
    server::Request request;
    request.headers["content-type"] = "application/json; charset=utf-8";
    request.body = body;
    return request;
}

// What servers that share a secret send; each field by itself, so that one that is wrong hides no
// other.
void check_shared_secret_body(std::string_view text) {
    namespace compat = vault::compat;
    fuzz::allow(ErrorCode::invalid_argument, [&] {
        const base::JsonValue body =
            compat::read_fields(request_with(text), compat::max_credentials_body_bytes);
        const auto read = [](auto call) { fuzz::allow(ErrorCode::invalid_argument, call); };
        std::string platform = "x";
        read([&] {
            const std::string profile = compat::read_profile(body);
            const auto id = base::Uuid::parse(profile);
            fuzz::require(id && id->to_string() == profile && vault::is_safe_name(profile));
        });
        read([&] {
            platform = compat::read_platform(body);
            fuzz::require(platform.size() <= 64 && vault::is_safe_name(platform));
        });
        read([&] {
            const base::SecretBytes secret = compat::read_credentials(body);
            fuzz::require(secret.size() <= vault::max_secret_bytes);
            // A reveal reads what was stored, whole and in part.
            const base::JsonValue stored =
                base::parse_json(secret.expose_text(), {.bytes = vault::max_secret_bytes});
            fuzz::require(stored.object() != nullptr && !vault::is_sealed(stored));
            fuzz::require(base::to_json(stored) == secret.expose_text());
            const base::JsonValue* part = compat::find_part(stored, platform, "session");
            if (part == nullptr) return;
            const base::WipedString shown = base::to_json(*part);
            fuzz::require(secret.expose_text().find(shown) != std::string_view::npos);
        });
    });
}

void check_record(std::string_view text) {
    using vault::compat::BrokerRecord;
    fuzz::allow(ErrorCode::invalid_argument, [&] {
        const BrokerRecord record =
            BrokerRecord::from_client(vault::read_body(request_with(text), text.size()));
        fuzz::require(vault::is_safe_name(record.client_id()));
        // What the list of credentials can show.
        fuzz::require(record.metadata().size() <= vault::max_metadata_bytes);
        const auto metadata = base::parse_json(record.metadata());
        fuzz::require(metadata.object() != nullptr && metadata.find("access_token") == nullptr);
        const base::SecretBytes secret = record.secret();
        if (secret.size() > vault::max_secret_bytes) return;  // is not stored
        const BrokerRecord again = BrokerRecord::from_secret(secret);
        fuzz::require(again.secret().expose_text() == secret.expose_text());
        fuzz::require(again.expires_at() == record.expires_at());

        const base::WipedString next = record.refresh() ? "next" : "";
        const vault::compat::FreshToken fresh{"fresh", base::from_milliseconds(1'800'000'000'000),
                                              next};
        const BrokerRecord refreshed = record.with(fresh);
        fuzz::require(refreshed.expires_at() == fresh.expires_at);
        fuzz::require(refreshed.metadata().size() <= vault::max_metadata_bytes);
        base::JsonWriter out;
        out.begin_object();
        refreshed.write_token(out);
        out.end_object();
        const auto shown = base::parse_json(out.text(), {.bytes = out.text().size()});
        fuzz::require(shown.find("refresh") == nullptr && shown.find("token_expired") == nullptr);
        fuzz::require(*shown.find("access_token")->string() == "fresh");
    });
}

// Each part by itself, so that one that is wrong hides no other. Those that read secrets are left
// out.
void check_configuration(std::string_view text) {
    base::JsonLimits with_comments;
    with_comments.comments = true;
    fuzz::allow(ErrorCode::invalid_argument, [&] {
        const base::JsonValue value = base::parse_json(text, with_comments);
        base::JsonReader top(value);
        const auto read = [](auto call) { fuzz::allow(ErrorCode::invalid_argument, call); };
        const std::filesystem::path folder = "/nowhere";
        read([&] { static_cast<void>(server::read_edge_config(top, folder)); });
        read([&] { static_cast<void>(server::read_metrics_config(top, folder)); });
        read([&] { static_cast<void>(server::read_gate_config(top)); });
        read([&] { static_cast<void>(server::read_identity_config(top, folder)); });
        read([&] { fuzz::require(server::read_policy_files(top, folder).file.is_absolute()); });
        read([&] {
            const auto budgets = server::read_budgets_path(top, folder);
            fuzz::require(budgets.empty() || budgets.is_absolute());
        });
        read([&] { static_cast<void>(server::read_log_level(top)); });
        read([&] { static_cast<void>(server::read_secret_source(top, "pin", folder)); });
        read([&] { static_cast<void>(vault::read_reason_rules(top, "reason_required")); });
        read([&] { static_cast<void>(vault::compat::read_config(top, folder)); });
    });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    const std::string text(fuzz::text_of(data + 1, size - 1));
    switch (data[0]) {
        case 'b':
            check_budgets(text);
            break;
        case 'c':
            check_rule(text);
            break;
        case 'r':
            check_rows(text);
            break;
        case 'k':
            check_record(text);
            break;
        case 'p':
            check_shared_secret_body(text);
            break;
        default:
            check_configuration(text);
            break;
    }
    return 0;
}
