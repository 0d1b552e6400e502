// That nobody who edits what stands beside a secret in a database gets it opened, and that no store
// seals what was edited as true: as one suite for all databases, since the values that are bound
// come back from each in its own way. Beside store_contract.h, in the same test files.
#pragma once

#include <span>
#include <utility>

#include "server/authorizer.h"
#include "server/policy.h"
#include "tests/support/fake_clock.h"
#include "tests/vault/fake_data_keys.h"
#include "tests/vault/openssl_seals.h"
#include "tests/vault/store_contract.h"
#include "vault/actions.h"
#include "vault/service.h"

namespace tests {

inline constexpr std::string_view attributes_policy = R"({
    "version": 1,
    "roles": {"acme": [{"id": "all", "effect": "allow", "actions": ["*"], "resources": ["credential:acme/*"]}]},
    "bindings": [{"caller": "spiffe://strongroom/acme", "roles": ["acme"]}]
})";

template <typename Backend>
class AttributesContract : public ::testing::Test {
protected:
    using Id = vault::CredentialId;

    void SetUp() override {
        if constexpr (requires { Backend::missing(); }) {
            if (!Backend::missing().empty()) GTEST_SKIP() << Backend::missing();
        }
        start();
    }
    void start() {
        store_ = backend_.open();
        service_ = std::make_unique<vault::CredentialService>(
            *store_, keys_, clock_, vault::ServiceOptions{.authorizer = &authorizer_});
    }
    // A hand in the database, in a credential's row or in that of one of its versions.
    void edit(const std::string& sql) {
        service_.reset();
        store_.reset();
        backend_.edit(sql);
        start();
    }
    void edit_credential(const Id& id, const std::string& change) {
        edit("UPDATE credentials SET " + change + " WHERE name = '" + id.name + "'");
    }
    void edit_version(const Id& id, std::uint64_t version, const std::string& change) {
        edit("UPDATE versions SET " + change + " WHERE version = " + std::to_string(version) +
             " AND credential = (SELECT id FROM credentials WHERE name = '" + id.name + "')");
    }

    server::Grant grant(server::Operation& operation, server::Action action, const Id& id) {
        return authorizer_.authorize(operation, action, vault::credential_resource(id));
    }
    server::Operation operation() const {
        server::Caller who;
        who.id = "spiffe://strongroom/acme";
        who.method = server::AuthenticationMethod::client_certificate;
        return {base::Uuid::random(), clock_.now(), std::move(who)};
    }
    vault::StoreResult store(const Id& id, std::string_view secret,
                             std::optional<std::string> metadata = std::nullopt,
                             std::optional<vault::Tags> tags = std::nullopt) {
        clock_.advance(std::chrono::milliseconds(1));
        vault::StoreRequest request;
        request.secret = base::SecretBytes(base::as_bytes(secret));
        request.metadata = std::move(metadata);
        request.tags = std::move(tags);
        request.expires_at = expires_at_;
        if (request.metadata && request.tags) request.may_begin_anew = [] { return true; };
        auto asked = operation();
        return service_->store(grant(asked, vault::store_credential, id), request, "");
    }
    std::string reveal(const Id& id, std::optional<std::uint64_t> version = std::nullopt) {
        auto asked = operation();
        const auto revealed =
            service_->reveal(grant(asked, vault::reveal_credential, id), version, "");
        return std::string(revealed.secret.expose_text());
    }
    // The same by the call on many; of an error its code.
    std::string reveal_of_many(const Id& id, std::optional<std::uint64_t> version = std::nullopt) {
        auto asked = operation();
        const auto right = grant(asked, vault::reveal_credential, id);
        const auto other = grant(asked, vault::reveal_credential, other_);
        const std::vector<vault::RevealJob> jobs{
            {&other, std::nullopt}, {&right, version}, {&other, 1}};
        const auto outcomes = service_->reveal_many(jobs, "");
        for (const std::size_t i : {0U, 2U}) {
            const auto* untouched = std::get_if<vault::Revealed>(&outcomes.at(i));
            EXPECT_TRUE(untouched != nullptr &&
                        untouched->secret.expose_text() == (i == 0 ? "\"newer\"" : "\"other\""));
        }
        if (const auto* error = std::get_if<base::Error>(&outcomes.at(1)))
            return std::string(base::to_string(error->code()));
        return std::string(std::get<vault::Revealed>(outcomes.at(1)).secret.expose_text());
    }
    vault::StoreResult restore(const Id& id, std::uint64_t version) {
        vault::RestoreRequest request;
        request.version = version;
        auto asked = operation();
        return service_->restore(grant(asked, vault::restore_credential, id), request, "");
    }

    // Three versions, the last of them made from the first.
    void fill(const Id& id) {
        expires_at_ = clock_.now() + std::chrono::hours(1);
        store(id, "\"one\"", R"({"account":"1"})", vault::Tags{{"team", "mine"}});
        expires_at_.reset();
        store(id, "\"two\"");
        restore(id, 1);
    }
    void fill_other() {
        store(other_, "\"other\"");
        store(other_, "\"newer\"", "{}", vault::Tags{{"a", "b"}});
    }

    // A version in format 2 as it was stored before there was format 3.
    void put_of_format_2(const Id& id, std::string_view secret,
                         std::optional<std::string> metadata = std::nullopt,
                         std::optional<vault::Tags> tags = std::nullopt) {
        const auto head = store_->head(id);
        const vault::SealBinding binding{id.owner, id.name, head.last + 1};
        const auto key = keys_.create(vault::key_context(binding), "");
        vault::NewVersion added{
            .id = id,
            .version = {.version = binding.version,
                        .key_id = key.key_id,
                        .key_version = key.key_version,
                        .expires_at = std::nullopt,
                        .created_at = clock_.now()},
            .sealed = vault::to_text(openssl_seal_of_format_2(binding, key, secret)),
            .metadata = std::move(metadata),
            .tags = std::move(tags)};
        ASSERT_TRUE(store_->put(added, head));
    }
    bool is_of_format_3(const Id& id, std::uint64_t version) {
        return vault::parse_stored(store_->find_version(id, version)->sealed)
            .attributes.has_value();
    }

    // As one who makes the current version one of format 2 would edit it.
    std::string lowered(const Id& id) {
        auto sealed = vault::parse_stored(store_->find_version(id, std::nullopt)->sealed);
        sealed.attributes.reset();
        return "sealed = '" + vault::to_text(sealed) + "'";
    }

    void expect_nothing_opens(const Id& id) {
        EXPECT_ERROR(integrity_failure, reveal(id));
        EXPECT_ERROR(integrity_failure, reveal(id, 1));
        EXPECT_ERROR(integrity_failure, reveal(id, 3));
        EXPECT_EQ(reveal_of_many(id), "integrity_failure");
        EXPECT_EQ(reveal_of_many(id, 1), "integrity_failure");
        EXPECT_ERROR(integrity_failure, restore(id, 1));
        EXPECT_ERROR(integrity_failure, restore(id, 3));
    }
    void expect_nothing_is_stored_but_with_all(const Id& id) {
        EXPECT_ERROR(integrity_failure, store(id, "\"four\""));
        EXPECT_ERROR(integrity_failure, store(id, "\"four\"", "{}"));
        EXPECT_ERROR(integrity_failure, store(id, "\"four\"", std::nullopt, vault::Tags{}));
        EXPECT_EQ(store_->head(id).last, 3U);
        const auto stored = store(id, "\"four\"", R"({"account":"4"})", vault::Tags{{"t", "4"}});
        EXPECT_TRUE(stored.replaced_damaged);
        EXPECT_FALSE(stored.created);
        EXPECT_EQ(stored.info.created_at, clock_.now()) << "nobody knows any more";
        EXPECT_EQ(reveal(id), "\"four\"");
        EXPECT_EQ(reveal(id, 1), "\"one\"");
        EXPECT_FALSE(store(id, "\"five\"").replaced_damaged);
        EXPECT_EQ(reveal(id), "\"five\"");
    }

    Backend backend_;
    FakeClock clock_;
    FakeDataKeys keys_;
    server::Authorizer authorizer_{server::parse_policy(attributes_policy, vault::known_actions())};
    std::unique_ptr<vault::Store> store_;
    std::unique_ptr<vault::CredentialService> service_;
    std::optional<base::Time> expires_at_;
    const Id other_{"acme", "other"};
};

TYPED_TEST_SUITE_P(AttributesContract);

TYPED_TEST_P(AttributesContract, AnEditOfWhatTheCredentialHasIsAnIntegrityFailureOfAllVersions) {
    this->fill_other();
    int number = 0;
    for (const std::string change :
         {R"(metadata = '{"account":"2"}')", R"(metadata = '{"account": "1"}')",
          R"(metadata = '{}')", R"(tags = '{"team":"yours"}')",
          R"(tags = '{"team":"mine","more":"x"}')", R"(tags = '{}')", "created_at = created_at - 1",
          "updated_at = updated_at + 1"}) {
        const vault::CredentialId id{"acme", "c" + std::to_string(++number)};
        this->fill(id);
        EXPECT_EQ(this->reveal(id), "\"one\"");
        EXPECT_EQ(this->reveal_of_many(id, 2), "\"two\"");
        this->edit_credential(id, change);
        SCOPED_TRACE(change);
        this->expect_nothing_opens(id);
        this->expect_nothing_is_stored_but_with_all(id);
    }
}

TYPED_TEST_P(AttributesContract, AnEditOfTheCurrentVersionIsAnIntegrityFailureOfAllVersions) {
    this->fill_other();
    int number = 0;
    const std::string expiry = "expires_at = expires_at + 1";
    const std::string none = "expires_at = NULL";
    for (const auto& [change, of_both] : std::vector<std::pair<std::string, std::string>>{
             {expiry, expiry},
             {none, none},
             {"created_at = created_at + 1", ""},
             {"restored_from = 2", ""},
             {"restored_from = 0", ""},
             {"restored_from = NULL", ""},
             {R"(sealed = replace(sealed, '"attributes":"', '"attributes":"A'))", ""},
             {R"(sealed = replace(sealed, '"attributes":', '"attribute":'))", ""},
             {R"(sealed = replace(sealed, '"__enc":3', '"__enc":2'))", ""},
             {"lowered", ""}}) {
        const vault::CredentialId id{"acme", "c" + std::to_string(++number)};
        this->fill(id);
        this->edit_version(id, 3, change == "lowered" ? this->lowered(id) : change);
        if (!of_both.empty()) this->edit_credential(id, of_both);
        SCOPED_TRACE(change);
        this->expect_nothing_opens(id);
        this->expect_nothing_is_stored_but_with_all(id);
    }
}

TYPED_TEST_P(AttributesContract, AnEditOfAnOlderVersionIsAnIntegrityFailureOfThatOne) {
    int number = 0;
    for (const std::string change : {"created_at = created_at + 1", "expires_at = NULL",
                                     "expires_at = expires_at + 1", "restored_from = 2"}) {
        const vault::CredentialId id{"acme", "c" + std::to_string(++number)};
        this->fill(id);
        this->edit_version(id, 1, change);
        SCOPED_TRACE(change);
        EXPECT_ERROR(integrity_failure, this->reveal(id, 1));
        EXPECT_ERROR(integrity_failure, this->restore(id, 1));
        EXPECT_EQ(this->reveal(id), "\"one\"");
        EXPECT_EQ(this->reveal(id, 2), "\"two\"");
        EXPECT_FALSE(this->store(id, "\"four\"").replaced_damaged);
    }
}

TYPED_TEST_P(AttributesContract, WhatIsNotReplacedIsBoundAsItIs) {
    this->fill(instagram);
    const auto created_at = this->store_->find(instagram)->created_at;
    const vault::Tags tags{{"a", "1"}, {"b", "2"}};
    this->store(instagram, "\"four\"", R"({"m":"ü"})");
    EXPECT_EQ(this->reveal(instagram), "\"four\"");
    this->store(instagram, "\"five\"", std::nullopt, tags);
    EXPECT_EQ(this->reveal(instagram), "\"five\"");
    this->restore(instagram, 2);
    EXPECT_EQ(this->reveal(instagram), "\"two\"");
    const auto info = this->store(instagram, "\"seven\"").info;
    EXPECT_EQ(this->reveal(instagram), "\"seven\"");
    EXPECT_EQ(this->reveal(instagram, 4), "\"four\"");
    EXPECT_EQ(info.metadata, R"({"m":"ü"})");
    EXPECT_EQ(info.tags, tags);
    EXPECT_EQ(info.created_at, created_at);
    EXPECT_EQ(info.updated_at, this->clock_.now());
    ASSERT_TRUE(destroy(*this->store_, instagram, "somebody", this->clock_.now()));
    EXPECT_TRUE(this->store(instagram, "\"eight\"").created);
    EXPECT_EQ(this->reveal(instagram), "\"eight\"");
    EXPECT_EQ(this->store_->find(instagram)->tags, vault::Tags{});
}

TYPED_TEST_P(AttributesContract, ACredentialOfFormat2OpensAndTheNextStoreTakesItOver) {
    const vault::CredentialId stored{"acme", "stored"};
    const vault::CredentialId restored{"acme", "restored"};
    for (const auto& id : {stored, restored}) {
        this->put_of_format_2(id, "\"one\"", R"({"m":1})", vault::Tags{{"team", "mine"}});
        this->put_of_format_2(id, "\"two\"");
        EXPECT_EQ(this->reveal(id), "\"two\"");
        EXPECT_EQ(this->reveal(id, 1), "\"one\"");
        // As it was before: it is not bound.
        this->edit_credential(id, R"(metadata = '{"m":2}')");
        EXPECT_EQ(this->reveal(id), "\"two\"");
        EXPECT_EQ(this->reveal(id, 1), "\"one\"");
        EXPECT_FALSE(this->is_of_format_3(id, 2));
    }
    this->store(stored, "\"three\"");
    this->restore(restored, 1);
    for (const auto& id : {stored, restored}) {
        EXPECT_TRUE(this->is_of_format_3(id, 3));
        EXPECT_EQ(this->reveal(id), id == stored ? "\"three\"" : "\"one\"");
        EXPECT_EQ(this->reveal(id, 2), "\"two\"");
        this->edit_credential(id, R"(tags = '{"team":"yours"}')");
        EXPECT_ERROR(integrity_failure, this->reveal(id));
        EXPECT_ERROR(integrity_failure, this->reveal(id, 2));
        EXPECT_ERROR(integrity_failure, this->restore(id, 2));
    }
}

// Or a hand in the database could have edited tags bound: by a text that says to be of format 2.
TYPED_TEST_P(AttributesContract, WhatSaysToBeOfFormat2AndDoesNotOpenIsNotTakenOver) {
    const vault::CredentialId old{"acme", "old"};
    this->fill(instagram);
    this->put_of_format_2(old, "\"old\"");
    const std::string foreign = this->store_->find_version(old, 1)->sealed;
    this->edit_version(instagram, 3, "sealed = '" + foreign + "'");
    this->edit_credential(instagram, R"(tags = '{"team":"yours"}')");
    EXPECT_ERROR(integrity_failure, this->reveal(instagram));
    EXPECT_ERROR(integrity_failure, this->reveal(instagram, 1));
    EXPECT_ERROR(integrity_failure, this->store(instagram, "\"four\""));
    EXPECT_ERROR(integrity_failure, this->restore(instagram, 2));
    EXPECT_EQ(this->store_->head(instagram).last, 3U);
}

// A hand would have tags sealed away by that: of what is destroyed none are asked for.
TYPED_TEST_P(AttributesContract, WhatAHandMarkedAsDestroyedIsNotStoredOver) {
    for (const std::string change :
         {"current_version = 0", "current_version = -1", "current_version = 0, last_version = 0"}) {
        const vault::CredentialId id{"acme", "c" + std::to_string(change.size())};
        this->fill(id);
        this->edit_credential(id, change);
        SCOPED_TRACE(change);
        EXPECT_ERROR(integrity_failure, this->store(id, "\"four\""));
        EXPECT_ERROR(integrity_failure, this->store(id, "\"four\"", "{}", vault::Tags{}));
        this->edit_credential(id, "current_version = 3, last_version = 3");
        EXPECT_EQ(this->reveal(id), "\"one\"") << "nothing was stored";
        EXPECT_EQ(this->store_->find(id)->tags, (vault::Tags{{"team", "mine"}}));
    }
}

TYPED_TEST_P(AttributesContract, WhatIsOfBeforeADestructionDoesNotOpenBesideWhatIsOfAfter) {
    const auto put_back = [&](const std::string& more = {}) {
        this->edit(
            "UPDATE versions SET erased_at = NULL, sealed = (SELECT kept.sealed FROM kept WHERE "
            "kept.credential = versions.credential AND kept.version = versions.version) "
            "WHERE version <= 3" +
            more);
    };
    this->fill(instagram);
    this->edit("CREATE TABLE kept AS SELECT * FROM versions");
    ASSERT_TRUE(destroy(*this->store_, instagram, "somebody", this->clock_.now()));
    this->store(instagram, "\"four\"", "{}", vault::Tags{{"team", "yours"}});
    EXPECT_EQ(this->store_->find(instagram)->first_version, 4U);
    put_back();
    this->store(instagram, "\"five\"");
    for (const std::uint64_t version : {1U, 2U, 3U}) {
        EXPECT_ERROR(integrity_failure, this->reveal(instagram, version));
        EXPECT_ERROR(integrity_failure, this->restore(instagram, version));
    }
    EXPECT_EQ(this->reveal(instagram, 4), "\"four\"");
    EXPECT_EQ(this->reveal(instagram), "\"five\"");
    this->edit_credential(instagram, "first_version = 1");
    EXPECT_ERROR(integrity_failure, this->reveal(instagram, 1));
    EXPECT_ERROR(integrity_failure, this->reveal(instagram));
    EXPECT_ERROR(integrity_failure, this->store(instagram, "\"six\""));
    this->edit_credential(instagram, "first_version = 4");
    EXPECT_EQ(this->reveal(instagram), "\"five\"");

    // By a hand alone, without a destruction.
    const vault::CredentialId marked{"acme", "marked"};
    this->fill(marked);
    this->edit("DROP TABLE kept; CREATE TABLE kept AS SELECT * FROM versions");
    this->edit_credential(marked, "current_version = 0");
    for (const std::uint64_t version : {1U, 2U, 3U})
        this->edit_version(marked, version, "erased_at = 1");
    this->store(marked, "\"four\"");
    put_back(" AND credential = (SELECT id FROM credentials WHERE name = 'marked')");
    EXPECT_ERROR(integrity_failure, this->reveal(marked, 1));
    EXPECT_EQ(this->reveal(marked), "\"four\"");
}

// One that can't be read any more holds up neither the current version nor a store.
TYPED_TEST_P(AttributesContract, AnOlderVersionThatCantBeReadIsLeftOut) {
    this->fill(instagram);
    this->edit_version(instagram, 2, "created_at = 999999999999999, key_id = 'x'");
    EXPECT_ERROR(integrity_failure, this->store_->find(instagram));
    EXPECT_ERROR(integrity_failure, this->reveal(instagram, 2));
    EXPECT_EQ(this->reveal(instagram), "\"one\"");
    EXPECT_EQ(this->reveal(instagram, 1), "\"one\"");
    const auto stored = this->store(instagram, "\"four\"");
    EXPECT_FALSE(stored.replaced_damaged);
    ASSERT_EQ(stored.info.versions.size(), 3U);
    EXPECT_EQ(stored.info.versions[2].version, 1U);
    EXPECT_EQ(this->reveal(instagram), "\"four\"");
}

// As where the master key version of before was destroyed.
TYPED_TEST_P(AttributesContract, WhatNobodyCanOpenAnyMoreIsReplacedAsAWholeOnly) {
    this->fill(instagram);
    this->keys_.primary = FakeDataKeys::key_version + 1;
    this->keys_.refused_version = FakeDataKeys::key_version;
    EXPECT_ERROR(unavailable, this->reveal(instagram));
    EXPECT_ERROR_SAYING(failed_precondition, "store with both", this->store(instagram, "\"four\""));
    EXPECT_ERROR(failed_precondition, this->store(instagram, "\"four\"", "{}"));
    EXPECT_EQ(this->store_->head(instagram).last, 3U);
    const auto stored = this->store(instagram, "\"four\"", "{}", vault::Tags{});
    EXPECT_TRUE(stored.replaced_unopened);
    EXPECT_FALSE(stored.replaced_damaged);
    EXPECT_EQ(stored.info.created_at, this->clock_.now());
    EXPECT_EQ(this->reveal(instagram), "\"four\"");
    EXPECT_ERROR(unavailable, this->reveal(instagram, 1));
    EXPECT_FALSE(this->store(instagram, "\"five\"").replaced_unopened);
    this->keys_.refused_version = 0;
    EXPECT_EQ(this->reveal(instagram, 1), "\"one\"") << "as of a key that was only disabled";
}

// A rewrap may have moved the row behind the read, and its old key be gone.
TYPED_TEST_P(AttributesContract, WhatIsRefusedOnceIsReadOnceMoreAndWhatGetsNoAnswerStays) {
    this->fill(instagram);
    const auto created_at = this->store_->find(instagram)->created_at;
    this->keys_.refusals = 1;
    const auto with_all = this->store(instagram, "\"four\"", "{}", vault::Tags{});
    EXPECT_FALSE(with_all.replaced_unopened || with_all.replaced_damaged);
    EXPECT_EQ(with_all.info.created_at, created_at);
    this->keys_.refusals = 1;
    EXPECT_EQ(this->store(instagram, "\"five\"").info.current().version, 5U);
    this->keys_.unanswered = 1;
    EXPECT_ERROR(unavailable, this->store(instagram, "\"six\"", "{}", vault::Tags{}));
    EXPECT_EQ(this->store_->find(instagram)->created_at, created_at);
}

TYPED_TEST_P(AttributesContract, OfStoresAtOnceEachBindsWhatStandsThen) {
    this->fill(instagram);
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
        threads.emplace_back([&, i] {
            auto asked = this->operation();
            const auto right = this->grant(asked, vault::store_credential, instagram);
            for (int round = 0; round < 4; ++round) {
                vault::StoreRequest request;
                request.secret = base::SecretBytes(base::as_bytes("\"x\""));
                if (i == 1) request.metadata = "{\"m\":" + std::to_string(round) + "}";
                if (i == 2) request.tags = vault::Tags{{"round", std::to_string(round)}};
                EXPECT_FALSE(this->service_->store(right, request, "").replaced_damaged);
            }
        });
    }
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(this->store_->head(instagram).last, 19U);
    EXPECT_EQ(this->reveal(instagram), "\"x\"");
    EXPECT_EQ(this->store_->find(instagram)->metadata, R"({"m":3})");
}

REGISTER_TYPED_TEST_SUITE_P(
    AttributesContract, AnEditOfWhatTheCredentialHasIsAnIntegrityFailureOfAllVersions,
    AnEditOfTheCurrentVersionIsAnIntegrityFailureOfAllVersions,
    AnEditOfAnOlderVersionIsAnIntegrityFailureOfThatOne, WhatIsNotReplacedIsBoundAsItIs,
    ACredentialOfFormat2OpensAndTheNextStoreTakesItOver,
    WhatSaysToBeOfFormat2AndDoesNotOpenIsNotTakenOver, WhatAHandMarkedAsDestroyedIsNotStoredOver,
    WhatIsOfBeforeADestructionDoesNotOpenBesideWhatIsOfAfter, AnOlderVersionThatCantBeReadIsLeftOut,
    WhatIsRefusedOnceIsReadOnceMoreAndWhatGetsNoAnswerStays,
    WhatNobodyCanOpenAnyMoreIsReplacedAsAWholeOnly, OfStoresAtOnceEachBindsWhatStandsThen);

}  // namespace tests
