#include "vault/service.h"

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <thread>
#include <utility>
#include <vector>

#include "base/file.h"
#include "tests/support/expect_error.h"
#include "tests/vault/data_keys_contract.h"
#include "tests/vault/service_steps.h"
#include "vault/opening.h"

namespace tests {
namespace {

TEST_F(CredentialServiceTest, WhatWasAllowedForOtherTagsThanTheCredentialHasIsNotDone) {
    world_.authorizer.replace(server::parse_policy(R"({"version": 1,
        "roles": {"mine": [{"id": "mine", "effect": "allow", "actions": ["*"],
                            "resources": ["credential:acme/tag/team=mine"]}],
                  "all": [{"id": "all", "effect": "allow", "actions": ["*"], "resources": ["credential:acme/*"]}]},
        "bindings": [{"caller": "spiffe://strongroom/mine", "roles": ["mine"]},
                     {"caller": "spiffe://strongroom/acme", "roles": ["all"]}]})",
                                                   vault::known_actions()));
    auto& service = *world_.service;
    auto others = world_.operation("acme");
    const auto store = [&](server::Operation& operation, vault::StoreRequest request) {
        request.secret = base::SecretBytes(base::as_bytes("{}"));
        return service.store(
            world_.authorizer.authorize(operation, vault::store_credential,
                                        service.resource(world_.authorizer, instagram_)),
            request, "");
    };
    const auto tagged = [](const std::string& team) {
        vault::StoreRequest request;
        request.tags = vault::Tags{{"team", team}};
        return request;
    };
    store(others, tagged("mine"));
    auto operation = world_.operation("mine");
    const auto allowed = [&](server::Action action) {
        return world_.authorizer.authorize(operation, action,
                                           service.resource(world_.authorizer, instagram_));
    };
    const auto to_reveal = allowed(vault::reveal_credential);
    const auto to_describe = allowed(vault::describe_credential);
    const auto to_store = allowed(vault::store_credential);
    const auto to_restore = allowed(vault::restore_credential);
    EXPECT_EQ(service.reveal(to_reveal, std::nullopt, "").secret.expose_text(), "{}");
    store(others, tagged("theirs"));
    EXPECT_ERROR(unavailable, service.reveal(to_reveal, 1, ""));
    EXPECT_ERROR(unavailable, service.describe(to_describe));
    vault::StoreRequest request;
    request.secret = base::SecretBytes(base::as_bytes("{}"));
    EXPECT_ERROR(unavailable, service.store(to_store, request, ""));
    vault::RestoreRequest again;
    again.version = 1;
    EXPECT_ERROR(unavailable, service.restore(to_restore, again, ""));
    const std::vector<vault::RevealJob> jobs{{&to_reveal, 1}};
    const auto outcomes = service.reveal_many(jobs, "");
    EXPECT_EQ(std::get<base::Error>(outcomes.front()).code(), base::ErrorCode::unavailable);
    auto late = tagged("mine");
    late.replaced_tags = vault::Tags{{"team", "mine"}};
    EXPECT_ERROR(unavailable, store(others, std::move(late)));
}

TEST_F(CredentialServiceTest, TheFakeKeyServiceKeepsTheContract) {
    expect_data_keys_contract(world_.keys);
    expect_data_keys_contract_of_batches(world_.keys);
    const vault::DataKey old = world_.keys.create({{"owner", "acme"}}, "");
    world_.keys.primary = FakeDataKeys::key_version + 1;
    expect_rewrap_after_rotation(world_.keys, old, {{"owner", "acme"}});
}

TEST_F(CredentialServiceTest, RevealsWhatWasStored) {
    const auto stored = acme_.store(instagram_, R"({"token":"one"})");
    EXPECT_TRUE(stored.created);
    EXPECT_EQ(stored.info.current().version, 1U);
    EXPECT_EQ(stored.info.current().key_id, world_.keys.key_id());
    EXPECT_EQ(acme_.reveal(instagram_), R"({"token":"one"})");
    const auto again = acme_.store(instagram_, R"({"token":"two"})");
    EXPECT_FALSE(again.created);
    EXPECT_EQ(again.info.current().version, 2U);
    EXPECT_EQ(acme_.reveal(instagram_), R"({"token":"two"})");
    EXPECT_EQ(acme_.reveal(instagram_, 1), R"({"token":"one"})");
    EXPECT_ERROR(not_found, acme_.reveal(instagram_, 3));
}

TEST_F(CredentialServiceTest, TheSecretIsNowhereInTheDatabase) {
    acme_.store(instagram_, R"({"token":"a-quite-unmistakable-secret"})");
    const auto stored = world_.store->find_version(instagram_, std::nullopt);
    EXPECT_EQ(stored->sealed.find("unmistakable"), std::string::npos);
    const std::string bytes = base::read_file(world_.database_file(), 1UL << 24U);
    EXPECT_NE(bytes.find("instagram"), std::string::npos);
    EXPECT_EQ(bytes.find("unmistakable"), std::string::npos);
}

TEST_F(CredentialServiceTest, EachRevealAsksTheKeyServiceOnceAndPassesTheTrace) {
    acme_.store(instagram_, "{}");
    EXPECT_EQ(world_.keys.last_traceparent, "00-trace-01");
    const int before = world_.keys.calls;
    static_cast<void>(acme_.reveal(instagram_));
    static_cast<void>(acme_.reveal(instagram_));
    EXPECT_EQ(world_.keys.calls, before + 2) << "no key is kept between calls";
    EXPECT_EQ(world_.keys.last_traceparent, "00-trace-02");
    acme_.store(instagram_, "{}");
    EXPECT_EQ(world_.keys.calls, before + 4) << "the current version is proven with the new one";
    static_cast<void>(acme_.reveal(instagram_, 1));
    static_cast<void>(acme_.reveal(instagram_, 2));
    EXPECT_EQ(world_.keys.calls, before + 6) << "with an older version the current one is proven";
    EXPECT_EQ(world_.keys.last_traceparent, "00-trace-02");
    acme_.restore(instagram_, 1);
    EXPECT_EQ(world_.keys.calls, before + 9) << "both are proven, then the new one";
}

TEST_F(CredentialServiceTest, ManyRevealsAskTheKeyServiceOnceAndEachHasItsOwnOutcome) {
    acme_.store(instagram_, R"({"n":1})");
    acme_.store(instagram_, R"({"n":2})");
    acme_.store(facebook_, R"({"n":3})");
    acme_.store({"acme", "broken"}, "{}");
    world_.edit(
        "UPDATE versions SET key_version = 9 WHERE credential = (SELECT id FROM credentials "
        "WHERE name = 'broken')");
    auto operation = world_.operation();
    const auto grant = [&](const std::string& name) {
        return acme_.grant(operation, vault::reveal_credential, {"acme", name});
    };
    const auto instagram = grant("instagram");
    const auto facebook = grant("facebook");
    const auto broken = grant("broken");
    const auto unknown = grant("unknown");
    const std::vector<vault::RevealJob> jobs = {{&facebook, {}}, {&broken, {}},    {&instagram, 1},
                                                {&unknown, {}},  {&instagram, {}}, {&instagram, 7}};
    const int before = world_.keys.calls;
    const auto outcomes = world_.service->reveal_many(jobs, "00-trace-03");
    EXPECT_EQ(world_.keys.calls, before + 1);
    EXPECT_EQ(world_.keys.last_traceparent, "00-trace-03");
    const auto secret = [&](std::size_t i) {
        return std::string(std::get<vault::Revealed>(outcomes.at(i)).secret.expose_text());
    };
    const auto code = [&](std::size_t i) { return std::get<base::Error>(outcomes.at(i)).code(); };
    ASSERT_EQ(outcomes.size(), jobs.size());
    EXPECT_EQ(secret(0), R"({"n":3})");
    EXPECT_EQ(code(1), base::ErrorCode::integrity_failure);
    EXPECT_EQ(secret(2), R"({"n":1})");
    EXPECT_EQ(code(3), base::ErrorCode::not_found);
    EXPECT_EQ(secret(4), R"({"n":2})");
    EXPECT_EQ(code(5), base::ErrorCode::not_found);

    world_.keys.unavailable = true;
    EXPECT_ERROR(unavailable, world_.service->reveal_many(jobs, ""));
    EXPECT_EQ(world_.service->reveal_many({}, "").size(), 0U);
    const auto wrong = acme_.grant(operation, vault::describe_credential, facebook_);
    const vault::RevealJob job{&wrong, {}};
    EXPECT_ERROR(internal, world_.service->reveal_many({&job, 1}, ""));
}

TEST_F(CredentialServiceTest, OfManyRevealsARowOfAnotherPlaceIsAnIntegrityFailure) {
    acme_.store(instagram_, R"({"n":1})");
    acme_.store(facebook_, R"({"n":2})");
    world_.edit(
        "UPDATE versions SET sealed = (SELECT sealed FROM versions WHERE credential = (SELECT "
        "id FROM credentials WHERE name = 'facebook'))");
    auto operation = world_.operation();
    const auto instagram = acme_.grant(operation, vault::reveal_credential, instagram_);
    const auto facebook = acme_.grant(operation, vault::reveal_credential, facebook_);
    const std::vector<vault::RevealJob> jobs = {{&instagram, {}}, {&facebook, {}}};
    const auto outcomes = world_.service->reveal_many(jobs, "");
    EXPECT_EQ(std::get<base::Error>(outcomes[0]).code(), base::ErrorCode::integrity_failure);
    EXPECT_EQ(std::get<vault::Revealed>(outcomes[1]).secret.expose_text(), R"({"n":2})");
}

TEST_F(CredentialServiceTest, MetadataNeverTouchesTheKeyService) {
    acme_.store(instagram_, "{}");
    world_.keys.unavailable = true;
    const int before = world_.keys.calls;
    EXPECT_EQ(acme_.describe(instagram_).current().version, 1U);
    auto operation = world_.operation();
    const auto grant = world_.authorizer.authorize(operation, vault::list_credentials,
                                                   vault::credentials_resource("acme"));
    EXPECT_EQ(world_.service->list(grant, "", 10).credentials.size(), 1U);
    EXPECT_EQ(acme_.destroy(instagram_).versions(), 1U);
    EXPECT_EQ(world_.keys.calls, before);
}

TEST_F(CredentialServiceTest, WithoutTheKeyServiceNothingIsRevealedOrStored) {
    acme_.store(instagram_, R"({"token":"one"})");
    static_cast<void>(acme_.reveal(instagram_));
    world_.keys.unavailable = true;
    EXPECT_ERROR(unavailable, acme_.reveal(instagram_));
    EXPECT_ERROR(unavailable, acme_.store(instagram_, R"({"token":"two"})"));
    world_.keys.unavailable = false;
    EXPECT_EQ(acme_.reveal(instagram_), R"({"token":"one"})");
}

TEST_F(CredentialServiceTest, WhatDoesNotOpenIsNotStored) {
    acme_.store(instagram_, R"({"token":"one"})");
    world_.keys.wraps_badly = true;
    EXPECT_ERROR(internal, acme_.store(instagram_, R"({"token":"two"})"));
    EXPECT_ERROR(internal, acme_.store(facebook_, R"({"token":"two"})"));
    EXPECT_EQ(acme_.reveal(instagram_), R"({"token":"one"})");
    EXPECT_ERROR(not_found, acme_.describe(facebook_));
}

TEST_F(CredentialServiceTest, IfVersionMustHold) {
    EXPECT_ERROR_SAYING(failed_precondition, "if_version", acme_.store(instagram_, "{}", 1));
    EXPECT_TRUE(acme_.store(instagram_, "{}", 0).created);
    EXPECT_ERROR_SAYING(failed_precondition, "if_version", acme_.store(instagram_, "{}", 0));
    EXPECT_EQ(acme_.store(instagram_, "{}", 1).info.current().version, 2U);
    EXPECT_ERROR_SAYING(failed_precondition, "current version is 2",
                        acme_.store(instagram_, "{}", 1));
    acme_.destroy(instagram_);
    EXPECT_ERROR(failed_precondition, acme_.store(instagram_, "{}", 2));
    EXPECT_TRUE(acme_.store(instagram_, "{}", 0).created);
}

TEST_F(CredentialServiceTest, ARestoredVersionIsANewOneSealedAnew) {
    acme_.expires_at = world_.clock.now() + std::chrono::seconds(10);
    acme_.store(instagram_, R"({"token":"one"})");
    acme_.expires_at.reset();
    acme_.store(instagram_, R"({"token":"two"})");
    world_.keys.primary = FakeDataKeys::key_version + 1;
    const auto restored = acme_.restore(instagram_, 1);
    EXPECT_FALSE(restored.created);
    EXPECT_EQ(restored.info.current().version, 3U);
    EXPECT_EQ(restored.info.current().key_version, FakeDataKeys::key_version + 1);
    EXPECT_EQ(restored.info.current().expires_at, world_.clock.now() + std::chrono::seconds(10))
        << "an older version's expiry comes with it";
    EXPECT_EQ(world_.keys.last_traceparent, "00-trace-04");
    EXPECT_EQ(acme_.reveal(instagram_), R"({"token":"one"})");
    EXPECT_EQ(acme_.reveal(instagram_, 2), R"({"token":"two"})");
    EXPECT_NE(world_.store->find_version(instagram_, 3)->sealed,
              world_.store->find_version(instagram_, 1)->sealed);
    const auto page = acme_.history(instagram_);
    ASSERT_EQ(page.versions.size(), 3U);
    EXPECT_EQ(page.versions[0].restored_from, 1U);
    acme_.expires_at = world_.clock.now() + std::chrono::seconds(20);
    EXPECT_EQ(acme_.restore(instagram_, 1).info.current().expires_at, acme_.expires_at);
}

TEST_F(CredentialServiceTest, OnlyWhatIsThereIsRestoredAndOnlyIfTheVersionHolds) {
    EXPECT_ERROR(not_found, acme_.restore(instagram_, 1));
    EXPECT_ERROR(not_found, acme_.history(instagram_));
    EXPECT_ERROR(failed_precondition, acme_.restore(instagram_, 1, 1));
    acme_.store(instagram_, R"({"token":"one"})");
    acme_.store(instagram_, R"({"token":"two"})");
    EXPECT_ERROR(not_found, acme_.restore(instagram_, 3));
    EXPECT_ERROR_SAYING(failed_precondition, "current version is 2",
                        acme_.restore(instagram_, 1, 1));
    EXPECT_EQ(acme_.restore(instagram_, 1, 2).info.current().version, 3U);
    world_.keys.unavailable = true;
    EXPECT_ERROR(unavailable, acme_.restore(instagram_, 1));
    world_.keys.unavailable = false;
    world_.keys.wraps_badly = true;
    EXPECT_ERROR(internal, acme_.restore(instagram_, 1));
    EXPECT_EQ(acme_.describe(instagram_).current().version, 3U);
    world_.keys.wraps_badly = false;
    EXPECT_ERROR(permission_denied, globex_.restore(instagram_, 1));
    acme_.destroy(instagram_);
    EXPECT_ERROR(not_found, acme_.restore(instagram_, 1));
    EXPECT_EQ(acme_.history(instagram_).versions.size(), 3U) << "known of, but no more there";
}

TEST_F(CredentialServiceTest, AnOlderVersionDoesNotOpenWithoutTheCurrentOnesKey) {
    acme_.store(instagram_, R"({"token":"one"})");
    acme_.store(instagram_, R"({"token":"two"})");
    const vault::Found found = vault::read_found(*world_.store->find_version(instagram_, 1));
    const auto wrapped = vault::wrapped_keys(found);
    ASSERT_EQ(wrapped.size(), 2U);
    const auto key = world_.keys.unwrap(wrapped[0].wrapped, wrapped[0].context, "");
    const auto currents = world_.keys.unwrap(wrapped[1].wrapped, wrapped[1].context, "");
    EXPECT_ERROR(internal, vault::open_found(found, key, nullptr));
    EXPECT_ERROR(integrity_failure, vault::open_found(found, key, &key));
    EXPECT_EQ(vault::open_found(found, key, &currents).expose_text(), R"({"token":"one"})");
}

TEST_F(CredentialServiceTest, ATamperedVersionIsNotRestored) {
    acme_.store(instagram_, R"({"token":"one"})");
    acme_.store(instagram_, R"({"token":"two"})");
    world_.edit(
        "UPDATE versions SET sealed = (SELECT sealed FROM versions WHERE version = 2) "
        "WHERE version = 1");
    EXPECT_ERROR(integrity_failure, acme_.restore(instagram_, 1));
    EXPECT_EQ(acme_.describe(instagram_).current().version, 2U);
}

// Another call comes at a chosen moment.
class Interrupted final : public OwnSqlite<vault::SqlStore> {
public:
    using OwnSqlite<vault::SqlStore>::OwnSqlite;
    vault::Head head(const CredentialId& id) override {
        if (auto once = std::exchange(before_head, {})) once();
        return SqlStore::head(id);
    }
    std::optional<vault::CredentialInfo> put(const vault::NewVersion& added,
                                             const vault::Head& expected) override {
        if (auto once = std::exchange(before_put, {})) once();
        return SqlStore::put(added, expected);
    }
    std::optional<vault::StoredVersion> find_version(
        const CredentialId& id, std::optional<std::uint64_t> version) override {
        if (auto once = std::exchange(before_find, {})) once();
        return SqlStore::find_version(id, version);
    }
    std::function<void()> before_head, before_find, before_put;
};

TEST_F(CredentialServiceTest, AStoreBindsWhatAnotherOneLeftMeanwhile) {
    world_.service.reset();
    auto owned = std::make_unique<Interrupted>(world_.directory / "other.db");
    Interrupted& store = *owned;
    world_.store = std::move(owned);
    world_.service = std::make_unique<vault::CredentialService>(store, world_.keys, world_.clock);
    const auto tag = [&](const std::string& team) {
        vault::StoreRequest request;
        request.secret = base::SecretBytes(base::as_bytes("\"meanwhile\""));
        request.metadata = R"({"team":")" + team + "\"}";
        request.tags = vault::Tags{{"team", team}};
        auto operation = world_.operation();
        world_.service->store(acme_.grant(operation, vault::store_credential, instagram_), request,
                              "");
    };
    store.before_head = [&] { tag("first"); };
    acme_.store(instagram_, R"({"n":2})");
    EXPECT_EQ(acme_.reveal(instagram_), R"({"n":2})");
    EXPECT_EQ(acme_.describe(instagram_).tags, (vault::Tags{{"team", "first"}}));
    store.before_put = [&] { tag("second"); };
    acme_.store(instagram_, R"({"n":4})");
    EXPECT_EQ(acme_.reveal(instagram_), R"({"n":4})");
    store.before_put = [&] { tag("third"); };
    acme_.restore(instagram_, 2);
    EXPECT_EQ(acme_.reveal(instagram_), R"({"n":2})");
    // Between the head that is added to and what is read.
    store.before_find = [&] { tag("fourth"); };
    acme_.restore(instagram_, 4);
    EXPECT_EQ(acme_.reveal(instagram_), R"({"n":4})");
    EXPECT_EQ(acme_.describe(instagram_).tags, (vault::Tags{{"team", "fourth"}}));
    EXPECT_EQ(acme_.describe(instagram_).current().version, 8U);
}

// Who refreshes takes failed_precondition for another one's store.
TEST_F(CredentialServiceTest, ARefreshOverWhatTheKeyServiceRefusesIsUnavailable) {
    acme_.store(instagram_, "{}");
    world_.keys.primary = FakeDataKeys::key_version + 1;
    world_.keys.refused_version = FakeDataKeys::key_version;
    vault::StoreRequest request;
    request.secret = base::SecretBytes(base::as_bytes("{}"));
    auto operation = world_.operation();
    const auto grant = acme_.grant(operation, vault::refresh_credential, instagram_);
    EXPECT_ERROR(unavailable, world_.service->store(grant, request, ""));
    EXPECT_ERROR(failed_precondition, acme_.store(instagram_, "{}"));
}

TEST_F(CredentialServiceTest, StoresAtOnceMakeAVersionEach) {
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
        threads.emplace_back([&] {
            Steps steps(world_, "acme");
            for (int round = 0; round < 5; ++round) steps.store(instagram_, R"({"n":1})");
        });
    }
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(acme_.describe(instagram_).current().version, 20U);
    for (std::uint64_t version = 1; version <= 20; ++version) {
        EXPECT_EQ(acme_.reveal(instagram_, version), R"({"n":1})");
    }
}

TEST_F(CredentialServiceTest, OfStoresAtOnceWithIfVersionOneWins) {
    acme_.store(instagram_, "{}");
    std::atomic<int> won = 0;
    std::vector<std::thread> threads;
    for (int i = 0; i < 6; ++i) {
        threads.emplace_back([&] {
            Steps steps(world_, "acme");
            try {
                steps.store(instagram_, "{}", 1);
                ++won;
            } catch (const base::Error& error) {
                EXPECT_EQ(error.code(), base::ErrorCode::failed_precondition) << error.what();
            }
        });
    }
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(won, 1);
    EXPECT_EQ(acme_.describe(instagram_).current().version, 2U);
}

TEST_F(CredentialServiceTest, DestroyedIsGoneAndTheNameIsFree) {
    acme_.store(instagram_, R"({"token":"one"})");
    acme_.store(instagram_, R"({"token":"two"})");
    const auto record = acme_.destroy(instagram_);
    EXPECT_EQ(record.versions(), 2U);
    EXPECT_EQ(record.ordered_by, "spiffe://strongroom/acme");
    EXPECT_EQ(record.at, world_.clock.now());
    EXPECT_ERROR(not_found, acme_.reveal(instagram_));
    EXPECT_ERROR(not_found, acme_.reveal(instagram_, 1));
    EXPECT_ERROR(not_found, acme_.describe(instagram_));
    EXPECT_ERROR(not_found, acme_.destroy(instagram_));
    EXPECT_EQ(acme_.store(instagram_, R"({"token":"three"})").info.current().version, 3U);
    EXPECT_EQ(acme_.reveal(instagram_), R"({"token":"three"})");
    EXPECT_ERROR(not_found, acme_.reveal(instagram_, 1));
}

TEST_F(CredentialServiceTest, ExpiryIsAMatterOfTheClock) {
    acme_.expires_at = world_.clock.now() + std::chrono::seconds(10);
    acme_.store(instagram_, "{}");
    const auto version = acme_.describe(instagram_).current();
    EXPECT_FALSE(vault::is_expired(version, world_.clock.now()));
    world_.clock.advance(std::chrono::milliseconds(9'999));
    EXPECT_FALSE(vault::is_expired(version, world_.clock.now()));
    world_.clock.advance(std::chrono::milliseconds(1));
    EXPECT_TRUE(vault::is_expired(version, world_.clock.now()));
    EXPECT_EQ(acme_.reveal(instagram_), "{}") << "expired, but still there";
    EXPECT_FALSE(vault::is_expired({}, world_.clock.now())) << "no expiry";
}

TEST_F(CredentialServiceTest, AGrantOfAnotherActionOrKindDoesNotServe) {
    acme_.store(instagram_, "{}");
    auto operation = world_.operation();
    const auto describe = acme_.grant(operation, vault::describe_credential, instagram_);
    EXPECT_ERROR(internal, world_.service->reveal(describe, std::nullopt, ""));
    EXPECT_ERROR(internal, world_.service->destroy(describe, ""));
    EXPECT_ERROR(internal, world_.service->list(describe, "", 1));
    EXPECT_ERROR(internal, world_.service->store(describe, {}, ""));
    EXPECT_ERROR(internal, world_.service->restore(describe, {}, ""));
    const auto list = acme_.grant(operation, vault::list_credentials, instagram_);
    EXPECT_ERROR(internal, world_.service->history(list, 0, 1));
    auto observed = world_.operation("operator");
    server::Resource service;
    service.kind = "service";
    EXPECT_ERROR(internal, world_.service->describe(
                               world_.authorizer.authorize(observed, vault::observe, service)));
}

TEST_F(CredentialServiceTest, OwnersCantReachEachOther) {
    acme_.store(instagram_, "{}");
    EXPECT_ERROR(permission_denied, globex_.reveal(instagram_));
    EXPECT_ERROR(permission_denied, globex_.store(instagram_, "{}"));
    EXPECT_ERROR(permission_denied, globex_.describe(instagram_));
    EXPECT_ERROR(permission_denied, globex_.destroy(instagram_));
    SCOPED_TRACE("known or not, it looks alike");
    EXPECT_ERROR(permission_denied, globex_.describe({"acme", "unknown"}));
}

// A thief who may write to the database, but holds no key: whatever is put where, nobody gets a
// secret that is not theirs.

}  // namespace
}  // namespace tests
