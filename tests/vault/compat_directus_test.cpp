// Stores that are written through to a Directus, over real HTTPS: what it is shown, what it may
// give back, and what becomes of a store that it does not take. The answers are those of Directus's
// items endpoint (PATCH and GET /items/{collection}/{id}).
#include <mutex>

#include "tests/support/expect_error.h"
#include "tests/support/test_pki.h"
#include "tests/support/tls_peer.h"
#include "tests/vault/api_calls.h"
#include "tests/vault/compat_house.h"
#include "vault/api.h"
#include "vault/sealed.h"

namespace tests {
namespace {

constexpr std::string_view creator = "0b5a4e0c-5f0e-4a57-9f0b-3d3c1f0f6d11";
constexpr std::string_view creators_secret =
    R"({"instagram":{"download":{"password":"p-marker"}}})";
constexpr std::string_view directus_token = "directus-static-token-0123456789";

constexpr std::string_view everything = R"({"version": 1,
  "roles": {"all": [{"id": "all", "effect": "allow", "actions": ["*"], "resources": ["*"]}]},
  "bindings": [{"caller": "*", "roles": ["all"]}]})";

class DirectusTest : public testing::Test {
protected:
    DirectusTest() { make(false); }

    vault::compat::DirectusConfig config() {
        vault::compat::DirectusConfig directus;
        directus.https.url = peer_.url();
        directus.https.ca = pki_.ca();
        directus.https.deadline = std::chrono::milliseconds(2000);
        directus.https.max_bytes = 256UL * 1024;
        directus.collection = "creator_profiles";
        directus.token.file = token_;
        return directus;
    }
    void make(bool reads_back, std::chrono::milliseconds deadline = std::chrono::seconds(2)) {
        vault::compat::SharedSecretConfig shape;
        shape.directus = config();
        shape.directus->reads_back = reads_back;
        shape.directus->https.deadline = deadline;
        if (house_) {
            house_->configure({shape, std::nullopt});
        } else {
            house_ = std::make_unique<CompatHouse>(CompatOptions{.config = {shape, std::nullopt}});
        }
    }
    server::Response store(std::string_view secret = creators_secret) {
        return house_->ask("POST /api/credentials/store",
                           R"({"creatorProfileId":")" + std::string(creator) +
                               R"(","credentials":)" + std::string(secret) + "}",
                           house_->sync());
    }
    server::Response reveal() {
        return house_->ask("POST /api/credentials/reveal",
                           R"({"creatorProfileId":")" + std::string(creator) + "\"}",
                           house_->sync());
    }
    // By the vault's own routes, on the profile's credentials.
    Answer native(server::Method method, const std::string& rest, const std::string& body = {}) {
        World& world = house_->world;
        base::Log log("test", base::LogLevel::error);
        server::AuditLog audit({directory_ / "native", "vaultd", "node", std::chrono::minutes(1)},
                               world.clock, log);
        const server::Authorizer all(server::parse_policy(everything, vault::known_actions()));
        vault::Api api({*world.service, all, *world.store, world.keys, audit, house_->metrics});
        const server::RouteTable routes(api.routes());
        auto operation = world.operation();
        auto answer =
            call(routes, operation, method, "/v1/owners/" + std::string(creator) + rest, body);
        facts_ = operation.facts();
        return answer;
    }
    Answer destroy() { return native(server::Method::DELETE, native_path); }
    Answer erase() { return native(server::Method::POST, "/erase"); }
    std::string fact(const std::string& name) const {
        const std::string record = house_->last_record();
        const std::string before = "\"" + name + "\":\"";
        const auto at = record.find(before);
        if (at == std::string::npos) return "";
        const auto begin = at + before.size();
        return record.substr(begin, record.find('"', begin) - begin);
    }

    // As Directus does it.
    PeerReply serve(const std::string& request) {
        std::function<void()> meanwhile;
        {
            const std::lock_guard lock(mutex_);
            requests_.push_back(request);
            if (reply_) return *reply_;
            if (listed_) {
                return request.starts_with("GET ") ? *listed_ : PeerReply{http_answer(403, "{}")};
            }
            meanwhile = std::exchange(meanwhile_, nullptr);
        }
        if (meanwhile) meanwhile();
        const std::lock_guard lock(mutex_);
        if (request.starts_with("GET ")) {
            if (item_.empty()) return {http_answer(404, R"({"errors":[{"message":"none"}]})")};
            return {http_answer(200, R"({"data":)" + item_ + "}")};
        }
        item_ = request.substr(request.find("\r\n\r\n") + 4);
        return {http_answer(200, R"({"data":)" + item_ + "}")};
    }
    // What is kept of that name.
    std::string kept(std::string_view name) {
        const std::lock_guard lock(mutex_);
        const auto item = base::parse_json(item_);
        const auto* value = item.find(name);
        if (value->string() != nullptr) return std::string(*value->string());
        return std::string(base::to_json(*value));
    }
    void answer(std::optional<PeerReply> reply) {
        const std::lock_guard lock(mutex_);
        reply_ = std::move(reply);
    }
    bool is_empty() {
        return kept("encrypted_credentials") == "null" && kept("credentials_version") == "null" &&
               kept("credentials_updated_at") == "null";
    }
    const std::string native_path = "/credentials/platforms";
    std::map<std::string, std::string> facts_;  // of the last native() call
    vault::CredentialId id() const { return {std::string(creator), "platforms"}; }

    TemporaryDirectory directory_;
    TestPki pki_{directory_ / "pki"};
    std::filesystem::path token_ = directory_.write("token", std::string(directus_token) + "\n");
    std::mutex mutex_;
    std::optional<PeerReply> reply_;   // in place of what Directus would say
    std::optional<PeerReply> listed_;  // what it reads; it refuses every write then
    std::function<void()> meanwhile_;
    std::string item_;
    std::vector<std::string> requests_;
    TlsPeer peer_{
        pki_.server("directus"), {}, [this](const auto& request) { return serve(request); }};
    std::unique_ptr<CompatHouse> house_;
};

TEST_F(DirectusTest, AStoreIsWrittenThroughSealed) {
    EXPECT_EQ(store().status, 200U);
    ASSERT_EQ(requests_.size(), 1U);
    const std::string& request = requests_.front();
    EXPECT_TRUE(request.starts_with("PATCH /items/creator_profiles/" + std::string(creator) +
                                    "?fields=credentials_version "))
        << request;
    EXPECT_NE(request.find("Authorization: Bearer " + std::string(directus_token) + "\r\n"),
              std::string::npos);
    EXPECT_EQ(request.find("p-marker"), std::string::npos);
    const auto stored = house_->world.store->find_version(id(), std::nullopt);
    EXPECT_EQ(kept("encrypted_credentials"), stored->sealed);
    EXPECT_EQ(kept("credentials_version"), "1");
    EXPECT_EQ(kept("credentials_updated_at"), base::to_rfc3339(house_->world.clock.now()));
    EXPECT_EQ(fact("write_through"), "written");
    EXPECT_EQ(reveal().status, 200U);
    EXPECT_EQ(requests_.size(), 1U) << "revealed from the vault";
}

TEST_F(DirectusTest, WhatItDoesNotTakeIsA503RecordedAndMendedByAnotherStore) {
    make(false, std::chrono::milliseconds(300));
    for (const auto& reply :
         {PeerReply{http_answer(403, R"({"errors":[{"message":"Forbidden"}]})")},
          PeerReply{http_answer(500, "x")}, PeerReply{http_answer(204, "")},
          PeerReply{http_answer(200, R"({"data":{"credentials_version":99}})")},
          PeerReply{http_answer(200, R"({"data":null})")}, PeerReply{http_answer(200, "x")},
          PeerReply{"", PeerReply::Then::reset}, PeerReply{"", PeerReply::Then::hold},
          PeerReply{"HTTP/1.1 2", PeerReply::Then::drip}}) {
        answer(reply);
        const auto failed = store();
        EXPECT_EQ(failed.status, 503U);
        EXPECT_NE(failed.body.find("store them again"), std::string_view::npos) << failed.body;
        EXPECT_EQ(fact("write_through"), "failed");
        EXPECT_EQ(house_->last_record().find(directus_token), std::string::npos);
    }
    EXPECT_EQ(house_->world.store->head(id()).current, 9U) << "the vault has them";
    answer(std::nullopt);
    EXPECT_EQ(store().status, 200U);
    EXPECT_EQ(kept("credentials_version"), "10");
}

TEST_F(DirectusTest, ARevealMayReadBackWhatIsKeptThere) {
    make(true);
    store();
    EXPECT_EQ(std::string(reveal().body),
              R"({"success":true,"credentials":)" + std::string(creators_secret) + "}");
    EXPECT_EQ(fact("read_from"), "directus");
    EXPECT_TRUE(
        requests_.back().starts_with("GET /items/creator_profiles/" + std::string(creator) +
                                     "?fields=encrypted_credentials%2Ccredentials_version "))
        << requests_.back();
    const std::string first = item_;
    // A field of JSON comes as JSON.
    item_ = R"({"encrypted_credentials":)" + kept("encrypted_credentials") +
            R"(,"credentials_version":1})";
    EXPECT_EQ(reveal().status, 200U);
    store(R"({"k":"newer"})");
    const std::string second = item_;
    item_ = first;
    EXPECT_EQ(reveal().status, 503U) << "an older one is not given";
    const auto versions_swapped = [&] {
        auto text = first;
        const auto at = text.find("\"credentials_version\":1");
        return text.replace(at, 23, "\"credentials_version\":2");
    };
    item_ = versions_swapped();
    EXPECT_EQ(reveal().status, 422U) << "nor when it says to be the newer";
    item_ = R"({"encrypted_credentials":"{}","credentials_version":2})";
    EXPECT_EQ(reveal().status, 422U);
    item_ = R"({"encrypted_credentials":null,"credentials_version":null})";
    EXPECT_EQ(reveal().status, 404U);
    item_.clear();
    EXPECT_EQ(reveal().status, 404U);
    item_ = second;
    EXPECT_EQ(std::string(reveal().body), R"({"success":true,"credentials":{"k":"newer"}})");
    for (const auto& reply : {PeerReply{http_answer(403, "{}")}, PeerReply{http_answer(200, "x")},
                              PeerReply{"", PeerReply::Then::reset}}) {
        answer(reply);
        EXPECT_EQ(reveal().status, 503U);
    }
}

// The copy opens beside the vault's row, whose metadata it says.
TEST_F(DirectusTest, AReadBackOfAnEditedCredentialIsAnIntegrityFailure) {
    make(true);
    store();
    EXPECT_EQ(reveal().status, 200U);
    house_->edit(R"(UPDATE credentials SET metadata = '{"a":1}')");
    EXPECT_EQ(reveal().status, 422U);
}

// A rewrap job changes the vault's row and not the copy.
TEST_F(DirectusTest, TheRecordOfAReadBackNamesTheMasterKeyVersionThatTheCopyNeeds) {
    make(true);
    store();
    const auto row = *house_->world.store->find_version(id(), std::nullopt);
    auto sealed = vault::parse_stored(row.sealed);
    house_->world.keys.primary = FakeDataKeys::key_version + 1;
    const vault::WrappedKey wrapped{sealed.wrapped_data_key,
                                    vault::key_context({id().owner, id().name, 1})};
    const auto rewrapped = house_->world.keys.rewrap_many({&wrapped, 1}, "");
    sealed.wrapped_data_key = std::get<vault::Rewrapped>(rewrapped.at(0)).wrapped;
    sealed.key_version = FakeDataKeys::key_version + 1;
    house_->edit("UPDATE versions SET key_version = 4, sealed = '" +
                 std::string(vault::to_text(sealed)) + "'");
    EXPECT_EQ(reveal().status, 200U);
    EXPECT_EQ(fact("key_version"), std::to_string(FakeDataKeys::key_version));
    EXPECT_EQ(fact("version"), "1");
}

TEST_F(DirectusTest, OfStoresAtOnceTheNewestIsWhatStays) {
    meanwhile_ = [&] {  // while the first one's is on its way
        const std::lock_guard lock(mutex_);
        item_ = "{}";
        auto added = *house_->world.store->find_version(id(), std::nullopt);
        vault::NewVersion newer{
            .id = id(), .version = added.version, .sealed = added.sealed, .metadata = std::nullopt};
        newer.version.version = 2;
        EXPECT_TRUE(house_->world.store->put(newer, {1, 1}));
    };
    EXPECT_EQ(store().status, 200U);
    EXPECT_EQ(kept("credentials_version"), "2");
}

TEST_F(DirectusTest, WhateverWayAVersionCameItIsWrittenThroughAndReadBack) {
    make(true);
    const auto put = [&](const std::string& secret) {
        return native(server::Method::PUT, native_path, R"({"secret":)" + secret + "}").status;
    };
    EXPECT_EQ(put(R"({"k":1})"), 201U);
    EXPECT_EQ(facts_["write_through"], "written");
    EXPECT_EQ(kept("credentials_version"), "1");
    EXPECT_EQ(std::string(reveal().body), R"({"success":true,"credentials":{"k":1}})");
    EXPECT_EQ(put(R"({"k":2})"), 200U);
    EXPECT_EQ(native(server::Method::POST, native_path + "/restore", R"({"version":1})").status,
              200U);
    EXPECT_EQ(facts_["write_through"], "written");
    EXPECT_EQ(kept("credentials_version"), "3");
    EXPECT_EQ(std::string(reveal().body), R"({"success":true,"credentials":{"k":1}})");
    answer(PeerReply{http_answer(500, "x")});
    EXPECT_EQ(put(R"({"k":4})"), 503U);
    EXPECT_EQ(facts_["write_through"], "failed");
    EXPECT_EQ(native(server::Method::POST, native_path + "/restore", R"({"version":1})").status,
              503U);
    EXPECT_EQ(facts_["write_through"], "failed");
    EXPECT_EQ(house_->world.store->head(id()).current, 5U) << "the vault has them";
    const auto before = requests_.size();
    EXPECT_EQ(native(server::Method::PUT, "/credentials/other", R"({"secret":{}})").status, 201U);
    EXPECT_EQ(facts_.count("write_through"), 0U);
    EXPECT_EQ(requests_.size(), before) << "of another name there is no copy";
}

TEST_F(DirectusTest, ADestructionEmptiesTheItem) {
    store();
    EXPECT_EQ(destroy().status, 200U);
    EXPECT_TRUE(is_empty()) << item_;
    EXPECT_EQ(facts_["write_through"], "written");
    store();
    EXPECT_EQ(kept("credentials_version"), "2");
    EXPECT_EQ(erase().status, 200U);
    EXPECT_TRUE(is_empty()) << item_;
    EXPECT_EQ(facts_["write_through"], "written");
    store();
    answer(PeerReply{http_answer(204, "")});
    EXPECT_EQ(destroy().status, 200U) << "there is no item";
}

// Directus tells who is no administrator the same of both: 403.
TEST_F(DirectusTest, ATokenWithFewRightsTellsAnItemThatIsNotThereFromOneThatItMayNotWrite) {
    const auto list = [this](const std::string& text, int status = 200) {
        const std::lock_guard lock(mutex_);
        listed_ = PeerReply{http_answer(status, text)};
    };
    store();
    for (const auto* text : {R"({"data":[{"id":"x"}]})", R"({"data":null})", R"({"data":{}})",
                             R"({"errors":[]})", "[]", "no JSON"}) {
        list(text);
        EXPECT_EQ(destroy().status, 503U) << text;
    }
    list(R"({"data":[]})", 403);
    EXPECT_EQ(destroy().status, 503U);
    list(R"({"data":[]})");
    EXPECT_EQ(destroy().status, 404U) << "the vault destroyed it before";
    EXPECT_NE(requests_.back().find("/items/creator_profiles?fields=id&limit=1&"
                                    "filter%5Bid%5D%5B_eq%5D=" +
                                    std::string(creator) + " "),
              std::string::npos)
        << requests_.back();
    EXPECT_EQ(store().status, 503U) << "a store needs its item";
    EXPECT_EQ(destroy().status, 200U);
}

TEST_F(DirectusTest, ADestructionThatDoesNotReachTheItemIsA503RecordedAndMendedByAnother) {
    for (const auto& again :
         {std::function([&] { return destroy(); }), {[&] { return erase(); }}}) {
        store();
        for (const auto& reply :
             {PeerReply{http_answer(403, "{}")}, PeerReply{"", PeerReply::Then::reset},
              PeerReply{http_answer(200, R"({"data":{"credentials_version":1}})")},
              PeerReply{http_answer(200, R"({"data":{}})")}}) {
            answer(reply);
            const auto failed = again();
            EXPECT_EQ(failed.status, 503U);
            EXPECT_NE(failed.message().find("try again"), std::string::npos) << failed.body;
            EXPECT_EQ(house_->world.store->head(id()).current, 0U) << "the vault destroyed it";
        }
        EXPECT_FALSE(is_empty());
        answer(std::nullopt);
        EXPECT_EQ(again().status, 404U);
        EXPECT_TRUE(is_empty()) << "by the repeated one";
    }
    store();
    answer(PeerReply{http_answer(403, "{}")});
    destroy();
    EXPECT_EQ(facts_["write_through"], "failed");
}

TEST_F(DirectusTest, AnItemOfWhatTheVaultNeverHadIsLeftAlone) {
    EXPECT_EQ(destroy().status, 404U);
    EXPECT_EQ(erase().status, 404U);
    EXPECT_TRUE(requests_.empty());
    native(server::Method::PUT, "/credentials/other", R"({"secret":{}})");
    EXPECT_EQ(erase().status, 200U);
    EXPECT_TRUE(requests_.empty());
}

TEST_F(DirectusTest, OfAStoreAndADestructionAtOnceWhatTheVaultHasIsWhatStays) {
    meanwhile_ = [&] { EXPECT_EQ(destroy().status, 200U); };  // and only then the write arrives
    EXPECT_EQ(store().status, 200U);
    EXPECT_TRUE(is_empty()) << item_;
    store();
    meanwhile_ = [&] { EXPECT_EQ(store(R"({"k":"anew"})").status, 200U); };
    EXPECT_EQ(destroy().status, 200U);
    EXPECT_EQ(kept("credentials_version"), "3");
}

TEST_F(DirectusTest, AllExchangesOfARequestHaveOneDeadline) {
    auto directus = config();
    directus.https.deadline = std::chrono::seconds(2);
    const vault::compat::DirectusItems items(directus, "platforms");
    store();
    auto stored = *house_->world.store->find_version(id(), std::nullopt);
    const auto begun = std::chrono::steady_clock::now();
    EXPECT_ERROR(unavailable, items.follow(id(), [&] {
        if (requests_.size() > 1) {  // the first round took nearly all of it
            std::this_thread::sleep_until(begun + std::chrono::milliseconds(1800));
            answer(PeerReply{"", PeerReply::Then::hold});
        }
        ++stored.version.version;
        return std::optional(stored);
    }));
    EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(3));
}

TEST_F(DirectusTest, AnExchangeUnderWayEndsWithTheProgram) {
    auto directus = config();
    directus.https.deadline = std::chrono::seconds(60);
    const vault::compat::DirectusItems items(directus, "platforms");
    answer(PeerReply{"", PeerReply::Then::hold});
    auto read = std::async(std::launch::async,
                           [&] { EXPECT_ERROR(unavailable, items.read(std::string(creator))); });
    while (peer_.requests() == 0) std::this_thread::yield();
    items.cancel();
    EXPECT_EQ(read.wait_for(std::chrono::seconds(20)), std::future_status::ready);
}

TEST_F(DirectusTest, WithoutATokenThatItsOwnerAloneCanReadThereIsNoStart) {
    auto directus = config();
    directus.token.file = directory_ / "none";
    EXPECT_ERROR(invalid_argument, vault::compat::DirectusItems{directus, "platforms"});
    directus.token.file = directory_.write("two words", "two words\n");
    EXPECT_ERROR(invalid_argument, vault::compat::DirectusItems{directus, "platforms"});
    directus.token.file = directory_.write("open", std::string(directus_token));
    std::filesystem::permissions(directus.token.file, std::filesystem::perms(0644));
    EXPECT_ERROR(invalid_argument, vault::compat::DirectusItems{directus, "platforms"});
}

}  // namespace
}  // namespace tests
