// A key service on a given token, with everything below it real, and callers with the rights that
// tests talk about.
#pragma once

#include <string>

#include "kms/actions.h"
#include "kms/api.h"
#include "kms/catalogue.h"
#include "kms/lifecycle.h"
#include "kms/reconcile.h"
#include "kms/service.h"
#include "kms/sql_store.h"
#include "kms/usage.h"
#include "server/audit.h"
#include "server/authorizer.h"
#include "server/idempotency.h"
#include "server/metrics.h"
#include "server/policy.h"
#include "tests/support/fake_clock.h"
#include "tests/support/sql_store.h"
#include "tests/support/temporary_directory.h"

namespace tests {

// app: data keys under alias/credentials and alias/second. operator: everything but data keys.
// reader: unwraps under alias/second only, may describe nothing. signer: signs, makes MACs and
// verifies under alias/signing. root: everything. unprivileged: everything but compromised keys.
// namer: the aliases dev-*. nearly: everything with all keys but alias/hidden, but describes none.
// tagged: changes and names keys with the tag team=ads, and gives keys any tags.
// Others: nothing.
inline constexpr std::string_view rig_policy = R"({"version":1,"roles":{
  "app":[{"id":"app-data-keys","effect":"allow","actions":["create_data_key","unwrap_data_key","rewrap_data_key","encrypt","decrypt"],
          "resources":["key:alias/credentials","key:alias/second"]}],
  "operator":[{"id":"operator-keys","effect":"allow",
          "actions":["create_key","list_keys","describe_key","observe"],"resources":["*"]}],
  "reader":[{"id":"reader-second","effect":"allow","actions":["unwrap_data_key"],
          "resources":["key:alias/second"]}],
  "watcher":[{"id":"watcher-second","effect":"allow","actions":["unwrap_data_key"],
          "resources":["key:alias/second"]},
          {"id":"watcher-describe","effect":"allow","actions":["describe_key"],"resources":["*"]}],
  "signer":[{"id":"signer-signing","effect":"allow",
          "actions":["sign","verify","get_public_key","mac","verify_mac"],
          "resources":["key:alias/signing"]}],
  "namer":[{"id":"namer-dev","effect":"allow","actions":["change_alias"],
          "resources":["key:alias/dev-*"]}],
  "no-compromised":[{"id":"no-compromised","effect":"deny","actions":["use_compromised_key"],
          "resources":["*"]}],
  "nearly":[{"id":"nearly-all","effect":"allow",
          "actions":["encrypt","create_data_key","sign","rotate_key","rewrap_data_key","verify",
                     "get_public_key","mac","verify_mac","change_key","enable_key","disable_key",
                     "schedule_key_deletion","cancel_key_deletion","mark_key_compromised",
                     "change_alias"],"resources":["*"]},
          {"id":"nearly-not","effect":"deny","actions":["*"],"resources":["key:alias/hidden"]}],
  "tagged":[{"id":"tagged-ads","effect":"allow","actions":["change_key","change_alias"],
          "resources":["key:tag/team=ads"]},
          {"id":"tagged-any","effect":"allow","actions":["tag_key"],"resources":["*"]}],
  "root":[{"id":"root-all","effect":"allow","actions":["*"],"resources":["*"]}]},
 "bindings":[{"caller":"app","roles":["app"]},{"caller":"operator","roles":["operator"]},
  {"caller":"reader","roles":["reader"]},{"caller":"watcher","roles":["watcher"]},
  {"caller":"signer","roles":["signer"]},{"caller":"root","roles":["root"]},
  {"caller":"namer","roles":["namer"]},{"caller":"nearly","roles":["nearly"]},
  {"caller":"tagged","roles":["tagged"]},
  {"caller":"unprivileged","roles":["root","no-compromised"]}]})";

inline server::Operation operation_of(const std::string& caller) {
    server::Caller who;
    who.id = caller;
    who.method = caller.empty() ? server::AuthenticationMethod::none
                                : server::AuthenticationMethod::client_certificate;
    return {base::Uuid::random(), base::from_milliseconds(1'800'000'000'000), who};
}

// What outlives a restart of the service: the folder with the database.
class KeyServiceRig {
public:
    KeyServiceRig(hsm::Token& token, const std::filesystem::path& folder,
                  const FakeClock& now = FakeClock())
        : clock(base::to_milliseconds(now.now())),
          store(folder / "kms.db"),
          usage(store, clock),
          reconciled(kms::reconcile(store, token, usage, clock, log)),
          catalogue(reconciled.keys),
          service(catalogue, token, usage, log, reconciled.unproven),
          lifecycle(catalogue, store, token, usage, clock, log),
          signing(catalogue, token, usage, log),
          authorizer(server::parse_policy(rig_policy, kms::known_actions())),
          audit(audit_config(folder), clock, log),
          idempotency(store, clock),
          api({service, lifecycle, idempotency, signing, catalogue, authorizer, store, audit,
               metrics}),
          routes(api.routes()) {}

    server::Grant grant(server::Operation& operation, server::Action action,
                        const std::string& id) const {
        server::Resource resource;
        resource.kind = kms::key_kind;
        resource.id = id;
        return authorizer.authorize(operation, action, resource);
    }

    // As a caller with every right.
    kms::KeyPointer create_key(const std::string& alias = {}) {
        auto operation = operation_of("root");
        kms::NewKey wanted;
        wanted.alias = alias;
        return lifecycle.create(grant(operation, kms::create_key, "*"), wanted).key;
    }
    kms::FreshDataKeys create_data_keys(const base::Uuid& key,
                                        const kms::EncryptionContext& context = {},
                                        const kms::NewDataKeys& wanted = {}) {
        auto operation = operation_of("root");
        return service.create_data_keys(grant(operation, kms::create_data_key, key.to_string()),
                                        key, kms::Context(context), wanted);
    }
    base::SecretBytes unwrap(const base::Bytes& wrapped,
                             const kms::EncryptionContext& context = {}) {
        auto operation = operation_of("root");
        const auto parsed = kms::parse_envelope(kms::EnvelopeKind::data_key, wrapped);
        if (!parsed) throw base::decryption_failed();
        const auto proof = grant(operation, kms::unwrap_data_key, parsed->key_id.to_string());
        const kms::Context bound(context);
        return service.unwrap({&proof, nullptr, &bound, *parsed});
    }
    base::Bytes rewrap(const base::Bytes& wrapped, const kms::EncryptionContext& context,
                       const base::Uuid& to_key, const kms::EncryptionContext& to_context) {
        auto operation = operation_of("root");
        const auto parsed = kms::parse_envelope(kms::EnvelopeKind::data_key, wrapped);
        if (!parsed) throw base::decryption_failed();
        const auto source = grant(operation, kms::rewrap_data_key, parsed->key_id.to_string());
        const auto target = grant(operation, kms::rewrap_data_key, to_key.to_string());
        const kms::Context from(context);
        const kms::Context to(to_context);
        return kms::to_bytes(
            service.rewrap({{&source, nullptr, &from, *parsed}, &target, to_key, &to}));
    }
    base::Bytes encrypt(const base::Uuid& key, std::string_view text,
                        const kms::EncryptionContext& context = {}) {
        auto operation = operation_of("root");
        return kms::to_bytes(service.encrypt(grant(operation, kms::encrypt_action, key.to_string()),
                                             key, kms::Context(context), base::as_bytes(text)));
    }
    base::SecretBytes decrypt(const base::Bytes& ciphertext,
                              const kms::EncryptionContext& context = {}) {
        auto operation = operation_of("root");
        const auto parsed = kms::parse_envelope(kms::EnvelopeKind::small_text, ciphertext);
        if (!parsed) throw base::decryption_failed();
        const auto proof = grant(operation, kms::decrypt_action, parsed->key_id.to_string());
        const kms::Context bound(context);
        return service.decrypt({&proof, nullptr, &bound, *parsed});
    }

private:
    static server::AuditConfig audit_config(const std::filesystem::path& folder) {
        server::AuditConfig config;
        config.directory = folder / "audit";
        config.daemon = "kmsd";
        config.node = "test";
        config.bound = std::chrono::minutes(1);  // a busy disk is no reason to refuse
        return config;
    }

public:
    FakeClock clock;
    base::Log log{"kmsd", base::LogLevel::error};
    server::Metrics metrics{"kmsd"};
    OwnSqlite<kms::SqlStore> store;
    kms::UsageCounter usage;
    kms::Reconciled reconciled;
    kms::Catalogue catalogue;
    kms::KeyService service;
    kms::KeyLifecycle lifecycle;
    kms::KeySigning signing;
    server::Authorizer authorizer;
    server::AuditLog audit;
    server::Idempotency idempotency;
    kms::Api api;
    server::RouteTable routes;
};

}  // namespace tests
