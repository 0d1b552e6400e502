// Rewrap jobs: what workers move, what they leave alone, and what is asked of jobs over HTTP.
#include <gtest/gtest.h>

#include <sqlite3.h>

#include <algorithm>
#include <fstream>
#include <optional>
#include <sstream>

#include "base/log.h"
#include "server/metrics.h"
#include "tests/support/closed_log.h"
#include "tests/support/expect_error.h"
#include "tests/support/fake_clock.h"
#include "tests/support/sql_store.h"
#include "tests/support/temporary_directory.h"
#include "tests/vault/api_calls.h"
#include "tests/vault/fake_data_keys.h"
#include "tests/vault/rewrap_statement_contract.h"
#include "tests/vault/rewrap_store_contract.h"
#include "tests/vault/world.h"
#include "vault/rewrap_api.h"
#include "vault/rewrap_work.h"
#include "vault/sealed.h"

namespace tests {
namespace {

using server::Method;

struct SqliteRewrapBackend {
    TemporaryDirectory directory;
    std::unique_ptr<server::Database> open() const { return open_sqlite(directory / "vault.db"); }
};

INSTANTIATE_TYPED_TEST_SUITE_P(Sqlite, RewrapStoreContract, SqliteRewrapBackend);
INSTANTIATE_TYPED_TEST_SUITE_P(Sqlite, RewrapStatementContract, SqliteRewrapBackend);

constexpr std::string_view rewrap_policy = R"({
    "version": 1,
    "roles": {
        "acme": [{"id": "acme", "effect": "allow", "actions": ["*"], "resources": ["credential:acme/*"]}],
        "operator": [{"id": "operator", "effect": "allow",
                      "actions": ["start_rewrap_job", "describe_rewrap_job", "cancel_rewrap_job"],
                      "resources": ["rewrap_job:*"]}],
        "reader": [{"id": "reader", "effect": "allow", "actions": ["describe_rewrap_job"], "resources": ["rewrap_job:*"]}]
    },
    "bindings": [
        {"caller": "spiffe://strongroom/acme", "roles": ["acme"]},
        {"caller": "spiffe://strongroom/operator", "roles": ["operator"]},
        {"caller": "spiffe://strongroom/reader", "roles": ["reader"]}
    ]
})";

class RewrapTest : public ::testing::Test {
protected:
    server::Operation operation(const std::string& caller) const {
        server::Caller who;
        who.id = "spiffe://strongroom/" + caller;
        who.method = server::AuthenticationMethod::client_certificate;
        return {base::Uuid::random(), clock_.now(), std::move(who)};
    }
    Answer send(Method method, const std::string& target, const std::string& body = {},
                const std::string& caller = "operator") {
        auto asked = operation(caller);
        Answer answer = call(routes_, asked, method, target, body);
        facts_ = asked.facts();
        return answer;
    }
    std::string begin(const std::string& body = {}) {
        const Answer answer = send(Method::POST, all, body);
        EXPECT_EQ(answer.status, 201U) << answer.body;
        return std::string(*answer.json.find("id")->string());
    }
    Answer job(const std::string& id) { return send(Method::GET, all + "/" + id); }

    void put(const std::string& name, const std::string& secret) {
        auto asked = operation("acme");
        const auto grant = authorizer_.authorize(asked, vault::store_credential,
                                                 vault::credential_resource({"acme", name}));
        vault::StoreRequest request;
        request.secret = base::SecretBytes(base::as_bytes(secret));
        service_.store(grant, request, "");
    }
    std::string reveal(const std::string& name, std::optional<std::uint64_t> version = {}) {
        auto asked = operation("acme");
        const auto grant = authorizer_.authorize(asked, vault::reveal_credential,
                                                 vault::credential_resource({"acme", name}));
        return std::string(service_.reveal(grant, version, "").secret.expose_text());
    }
    vault::SealedCredential sealed(const std::string& name, std::uint64_t version = 1) {
        return vault::parse_stored(node_.store.find_version({"acme", name}, version)->sealed);
    }
    // A worker's steps until it has to wait.
    void work() {
        while (work_.step() == std::chrono::milliseconds(0)) continue;
    }
    void rotate() { keys_.primary = static_cast<std::uint8_t>(keys_.primary + 1); }
    void edit(const std::string& sql) {
        node_.database->write([&](server::Session& session) { session << sql; });
    }
    // The audit log's lines with that action.
    std::vector<std::string> recorded(const std::string& action) {
        audit_.event("flush", {});
        std::ifstream file(directory_ / "audit" / "audit.jsonl");
        std::vector<std::string> lines;
        for (std::string line; std::getline(file, line);) {
            if (line.find("\"" + action + "\"") != std::string::npos) lines.push_back(line);
        }
        return lines;
    }

    const std::string all = "/v1/rewrap-jobs";
    TemporaryDirectory directory_;
    FakeClock clock_;
    FakeDataKeys keys_;
    base::Log log_{"test", base::LogLevel::error};
    server::Metrics metrics_{"vaultd"};
    server::AuditLog audit_{
        {.directory = directory_ / "audit", .daemon = "vaultd", .node = "test"}, clock_, log_};
    server::Authorizer authorizer_{server::parse_policy(rewrap_policy, vault::known_actions())};
    RewrapNode node_{open_sqlite(directory_ / "vault.db")};
    vault::CredentialService service_{node_.store, keys_, clock_};
    vault::RewrapWork work_{{node_.rewraps, keys_, audit_, metrics_, clock_, log_}};
    vault::RewrapService rewraps_{node_.rewraps, keys_, clock_};
    int wakes_ = 0;
    vault::RewrapApi api_{{rewraps_, authorizer_, [this] { ++wakes_; }}};
    server::RouteTable routes_{api_.routes()};
    std::map<std::string, std::string> facts_;
};

TEST_F(RewrapTest, OnlyTheWrappedDataKeyOfEveryVersionChanges) {
    put("a", R"({"k":"one"})");
    put("a", R"({"k":"two"})");
    put("b", R"({"k":"three"})");
    const auto before = sealed("a", 1);
    rotate();
    const std::string id = begin();
    EXPECT_EQ(wakes_, 1);
    EXPECT_EQ(facts_.at("job"), id);
    EXPECT_EQ(facts_.at("records"), "3");
    work();
    const auto after = sealed("a", 1);
    EXPECT_EQ(after.key_id, before.key_id);
    EXPECT_EQ(after.key_version, before.key_version + 1);
    EXPECT_NE(after.wrapped_data_key, before.wrapped_data_key);
    EXPECT_EQ(after.commitment, before.commitment);
    EXPECT_EQ(after.iv, before.iv);
    EXPECT_EQ(after.ciphertext, before.ciphertext);
    EXPECT_TRUE(after.attributes);
    EXPECT_EQ(after.attributes, before.attributes);
    EXPECT_EQ(reveal("a", 1), R"({"k":"one"})");
    EXPECT_EQ(reveal("a"), R"({"k":"two"})");
    EXPECT_EQ(reveal("b"), R"({"k":"three"})");
    const auto done = job(id);
    EXPECT_EQ(done.at({"state"}), "\"completed\"") << done.body;
    EXPECT_EQ(done.at({"records"}), R"({"total":3,"done":3,"failed":0,"superseded":0,"left":0})");
    EXPECT_EQ(done.at({"safe_to_retire", "safe"}), "true");
    EXPECT_EQ(done.at({"safe_to_retire", "versions_below"}), "4");
    EXPECT_EQ(done.at({"safe_to_retire", "remaining"}), "0");
    EXPECT_EQ(done.at({"safe_to_retire", "uncounted_copies"}), "false");
    EXPECT_EQ(done.at({"created_by"}), "\"spiffe://strongroom/operator\"");
}

TEST_F(RewrapTest, NoVersionIsSafeToRetireWhileRevealsOpenCopiesThatAreNotCounted) {
    vault::RewrapWork work({node_.rewraps, keys_, audit_, metrics_, clock_, log_, true});
    vault::RewrapApi api({rewraps_, authorizer_, [] {}, true});
    server::RouteTable routes(api.routes());
    put("a", "{}");
    rotate();
    const std::string id = begin();
    while (work.step() == std::chrono::milliseconds(0)) continue;
    auto asked = operation("operator");
    const Answer done = call(routes, asked, Method::GET, all + "/" + id, {});
    EXPECT_EQ(done.at({"safe_to_retire", "remaining"}), "0");
    EXPECT_EQ(done.at({"safe_to_retire", "uncounted_copies"}), "true");
    EXPECT_EQ(done.at({"safe_to_retire", "safe"}), "false");
    const auto lines = recorded("rewrap_concluded");
    ASSERT_EQ(lines.size(), 1U);
    EXPECT_NE(lines[0].find(R"("safe_to_retire":"no")"), std::string::npos) << lines[0];
    EXPECT_NE(lines[0].find(R"("uncounted_copies":"yes")"), std::string::npos) << lines[0];
}

TEST_F(RewrapTest, TheStatementStandsInTheAuditLog) {
    put("a", "{}");
    rotate();
    const std::string id = begin();
    work();
    const auto lines = recorded("rewrap_concluded");
    ASSERT_EQ(lines.size(), 1U);
    for (const auto& part :
         {id, std::string(R"("safe_to_retire":"yes")"), std::string(R"("remaining":"0")"),
          std::string(R"("versions_below":"4")"), std::string(R"("done":"1")")}) {
        EXPECT_NE(lines[0].find(part), std::string::npos) << part << " in " << lines[0];
    }
}

TEST_F(RewrapTest, RowsThatDoNotOpenAreCountedListedRecordedAndStayAsTheyWere) {
    for (const auto* name : {"good", "tampered", "moved", "columns", "text"})
        put(name, R"({"k":1})");
    edit(
        "UPDATE versions SET sealed = replace(sealed, '\"dek\":\"U1Jk', '\"dek\":\"U1Jj') WHERE "
        "credential = (SELECT id FROM credentials WHERE name = 'tampered')");
    edit(
        "UPDATE versions SET sealed = (SELECT sealed FROM versions WHERE credential = (SELECT id "
        "FROM credentials WHERE name = 'good')) WHERE credential = (SELECT id FROM credentials "
        "WHERE name = 'moved')");
    edit(
        "UPDATE versions SET key_version = 2 WHERE credential = (SELECT id FROM credentials WHERE "
        "name = 'columns')");
    edit(
        "UPDATE versions SET sealed = 'none' WHERE credential = (SELECT id FROM credentials WHERE "
        "name = 'text')");
    rotate();
    const std::string id = begin();
    work();
    const auto done = job(id);
    EXPECT_EQ(done.at({"state"}), "\"completed\"");
    EXPECT_EQ(done.at({"records"}), R"({"total":5,"done":1,"failed":4,"superseded":0,"left":4})");
    EXPECT_EQ(done.at({"safe_to_retire", "safe"}), "false");
    EXPECT_EQ(done.at({"safe_to_retire", "remaining"}), "4");
    std::vector<std::string> names;
    std::string cursor;
    do {
        const auto page = send(Method::GET, all + "/" + id + "/failures?limit=1" + cursor);
        ASSERT_EQ(page.status, 200U) << page.body;
        for (const auto& one : *page.json.find("failures")->array()) {
            names.emplace_back(*one.find("name")->string());
            EXPECT_EQ(*one.find("reason")->string(), "integrity_failure");
            EXPECT_EQ(*one.find("owner")->string(), "acme");
        }
        const auto* next = page.json.find("next_cursor");
        cursor = next == nullptr ? "" : "&cursor=" + std::string(*next->string());
    } while (!cursor.empty());
    std::sort(names.begin(), names.end());
    EXPECT_EQ(names, (std::vector<std::string>{"columns", "moved", "tampered", "text"}));
    EXPECT_EQ(recorded("rewrap_failed").size(), 4U) << "once each, not with every pass";
    EXPECT_EQ(node_.store.find_version({"acme", "text"}, 1)->sealed, "none");
    EXPECT_EQ(reveal("good"), R"({"k":1})");
    EXPECT_ERROR(integrity_failure, reveal("moved"));
}

TEST_F(RewrapTest, ARowWhoseMasterKeyIsNoneStopsNoJobAndIsNotSafe) {
    for (const auto* name : {"a", "b", "c"}) put(name, "{}");
    edit("UPDATE versions SET key_id = 'none' WHERE credential = 1");
    edit("UPDATE versions SET key_version = 4294967299 WHERE credential = 2");
    edit(
        "UPDATE versions SET key_id = '00000000-0000-4000-8000-000000000000' WHERE credential = 2");
    rotate();
    const std::string id = begin();
    work();
    const auto done = job(id);
    EXPECT_EQ(done.at({"state"}), "\"completed\"") << done.body;
    EXPECT_EQ(done.at({"records", "done"}), "1");
    EXPECT_EQ(done.at({"safe_to_retire", "safe"}), "false");
    EXPECT_EQ(done.at({"safe_to_retire", "remaining"}), "2");
}

TEST_F(RewrapTest, ARowThatOnlySaysItWasMovedKeepsTheStatementFromBeingSafe) {
    for (const auto* name : {"a", "b"}) put(name, "{}");
    rotate();
    edit("UPDATE versions SET key_version = 4 WHERE credential = 1");
    const std::string id = begin();
    work();
    const auto done = job(id);
    EXPECT_EQ(done.at({"records", "done"}), "1") << done.body;
    EXPECT_EQ(done.at({"safe_to_retire", "safe"}), "false");
    EXPECT_EQ(done.at({"safe_to_retire", "remaining"}), "0");
    EXPECT_EQ(done.at({"safe_to_retire", "differing"}), "1");
    EXPECT_NE(recorded("rewrap_concluded").at(0).find(R"("differing":"1")"), std::string::npos);
    edit("UPDATE versions SET key_version = 3 WHERE credential = 1");
    const std::string again = begin();
    work();
    EXPECT_EQ(job(again).at({"safe_to_retire", "safe"}), "true") << "mended";
    EXPECT_EQ(reveal("a"), "{}");
}

TEST_F(RewrapTest, WhatComesBackAsAnotherDataKeyReplacesNothing) {
    put("a", R"({"k":1})");
    const auto before = node_.store.find_version({"acme", "a"}, 1)->sealed;
    rotate();
    keys_.wraps_badly = true;
    const std::string id = begin();
    work();
    EXPECT_EQ(node_.store.find_version({"acme", "a"}, 1)->sealed, before);
    EXPECT_EQ(job(id).at({"records", "failed"}), "1");
    keys_.wraps_badly = false;
    EXPECT_EQ(reveal("a"), R"({"k":1})");
    const std::string again = begin();
    work();
    EXPECT_EQ(job(again).at({"safe_to_retire", "safe"}), "true");
}

TEST_F(RewrapTest, NothingIsMovedWhileTheAuditLogHasNoRoom) {
    put("a", R"({"k":"one"})");
    const auto before = sealed("a").key_version;
    rotate();
    begin();
    std::optional<ClosedLog> closed(audit_);
    EXPECT_EQ(work_.step(), vault::rewrap_idle);
    EXPECT_EQ(sealed("a").key_version, before);
    closed.reset();
    work();
    EXPECT_EQ(sealed("a").key_version, before + 1);
}

TEST_F(RewrapTest, WithoutTheKeyServiceTheJobWaitsAndSaysSo) {
    put("a", "{}");
    rotate();
    const std::string id = begin();
    keys_.unavailable = true;
    work();
    EXPECT_EQ(job(id).at({"state"}), "\"running\"");
    EXPECT_EQ(job(id).at({"trouble"}), "\"switched off\"");
    keys_.unavailable = false;
    EXPECT_EQ(send(Method::POST, all).status, 409U);
    work();
    EXPECT_EQ(job(id).at({"state"}), "\"running\"") << "not before its time";
    clock_.advance(vault::rewrap_trouble_pause);
    work();
    EXPECT_EQ(job(id).at({"state"}), "\"completed\"");
    EXPECT_EQ(job(id).at({"trouble"}), "(none)");
}

TEST_F(RewrapTest, ATokenThatIsAwayMakesNoFailuresAndAKeyThatIsDisabledDoes) {
    put("a", "{}");
    rotate();
    const std::string id = begin();
    keys_.refuses_items = true;
    keys_.not_ready = true;
    work();
    EXPECT_EQ(job(id).at({"trouble"}), "\"its token is away\"");
    EXPECT_EQ(job(id).at({"records", "failed"}), "0");
    keys_.not_ready = false;
    clock_.advance(vault::rewrap_trouble_pause);
    work();
    EXPECT_EQ(job(id).at({"state"}), "\"completed\"");
    EXPECT_EQ(job(id).at({"records", "failed"}), "1");
    EXPECT_EQ(job(id).at({"safe_to_retire", "safe"}), "false");
}

TEST_F(RewrapTest, ANodeThatDoesNotKnowOfTheRotationYetMovesNothing) {
    put("a", "{}");
    rotate();
    const std::string id = begin();
    keys_.primary = FakeDataKeys::key_version;
    work();
    EXPECT_NE(job(id).at({"trouble"}).find("another master key version"), std::string::npos);
    EXPECT_EQ(job(id).at({"records", "done"}), "0");
    rotate();
    rotate();  // one newer than the job's will do
    clock_.advance(vault::rewrap_trouble_pause);
    work();
    EXPECT_EQ(job(id).at({"safe_to_retire", "safe"}), "true");
    EXPECT_EQ(sealed("a").key_version, FakeDataKeys::key_version + 2U);
}

TEST_F(RewrapTest, AStoreThatBeganBeforeTheStatementIsSealedAnew) {
    put("a", "{}");
    rotate();
    begin();
    work();
    keys_.primary = FakeDataKeys::key_version;
    EXPECT_ERROR(unavailable, put("a", "{}"));
    rotate();
    EXPECT_NO_THROW(put("a", "{}"));
}

TEST_F(RewrapTest, SeveralWorkersShareAJob) {
    for (int i = 0; i < 20; ++i) put("c" + std::to_string(i), "{}");
    rotate();
    const std::string id = begin(R"({"records_per_second":1000000})");
    {
        vault::RewrapWorkers workers(work_, 4, log_);
        workers.wake();
        const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
        while (job(id).at({"state"}) != "\"completed\"" && std::chrono::steady_clock::now() < end)
            std::this_thread::yield();
    }
    EXPECT_EQ(job(id).at({"records", "done"}), "20");
    EXPECT_EQ(recorded("rewrap_concluded").size(), 1U);
}

TEST_F(RewrapTest, ProgressShowsRateAndTimeLeft) {
    for (int i = 0; i < 10; ++i) put("c" + std::to_string(i), "{}");
    rotate();
    const std::string id = begin(R"({"records_per_second":2})");
    EXPECT_EQ(job(id).at({"records_per_second"}), "2");
    EXPECT_EQ(job(id).at({"rate"}), "0");
    EXPECT_EQ(job(id).at({"seconds_left"}), "(none)");
    clock_.advance(std::chrono::seconds(1));
    work();
    EXPECT_EQ(job(id).at({"records", "done"}), "2");
    EXPECT_EQ(job(id).at({"rate"}), "2");
    EXPECT_EQ(job(id).at({"seconds_left"}), "4");
    EXPECT_EQ(job(id).at({"safe_to_retire"}), "(none)");
}

TEST_F(RewrapTest, JobsAreBegunShownAndCancelledByWhoMay) {
    const std::string id = begin();
    for (const auto& [method, target, caller] :
         std::vector<std::tuple<Method, std::string, std::string>>{
             {Method::POST, all, "reader"},
             {Method::POST, all, "acme"},
             {Method::GET, all, "acme"},
             {Method::GET, all + "/" + id, "acme"},
             {Method::GET, all + "/unknown", "acme"},
             {Method::GET, all + "/" + id + "/failures", "acme"},
             {Method::POST, all + "/" + id + "/cancel", "reader"}}) {
        EXPECT_EQ(send(method, target, {}, caller).status, 403U) << target << " by " << caller;
    }
    EXPECT_EQ(send(Method::GET, all + "/" + id, {}, "reader").status, 200U);
    const auto cancelled = send(Method::POST, all + "/" + id + "/cancel");
    EXPECT_EQ(cancelled.status, 200U);
    EXPECT_EQ(cancelled.at({"state"}), "\"cancelled\"");
    EXPECT_EQ(cancelled.at({"safe_to_retire"}), "(none)");
    const auto again = send(Method::POST, all + "/" + id + "/cancel");
    EXPECT_EQ(again.status, 409U);
    EXPECT_EQ(again.error_code(), "failed_precondition");
    clock_.advance(std::chrono::seconds(1));
    const auto second = begin();
    const auto first_page = send(Method::GET, all + "?limit=1");
    EXPECT_EQ(first_page.json.find("jobs")->array()->size(), 1U);
    EXPECT_EQ(first_page.at({"next_cursor"}), "\"" + second + "\"");
    const auto rest = send(Method::GET, all + "?limit=5&cursor=" + second);
    EXPECT_EQ(rest.json.find("jobs")->array()->size(), 1U);
    EXPECT_EQ(rest.at({"next_cursor"}), "(none)");
}

TEST_F(RewrapTest, EveryBadRequestIsNamed) {
    const std::string id = begin();
    const std::string nobody = base::Uuid::random().to_string();
    for (const auto& [method, target, body, status, part] :
         std::vector<std::tuple<Method, std::string, std::string, unsigned, std::string>>{
             {Method::POST, all, "[]", 400, "object"},
             {Method::POST, all, R"({"records_per_second":0})", 400, "records_per_second"},
             {Method::POST, all, R"({"records_per_second":1000001})", 400, "records_per_second"},
             {Method::POST, all, R"({"rate":1})", 400, "\"rate\" is not a known field"},
             {Method::POST, all, "", 409, "another rewrap job is under way"},
             {Method::POST, all + "?now=1", "", 400, "now"},
             {Method::GET, all + "?limit=0", "", 400, "limit"},
             {Method::GET, all + "?limit=101", "", 400, "limit"},
             {Method::GET, all + "?cursor=x", "", 400, "cursor"},
             {Method::GET, all + "?page=1", "", 400, "page"},
             {Method::GET, all + "/" + id + "?x=1", "", 400, "x"},
             {Method::GET, all + "/" + id + "/failures?cursor=1", "", 400, "cursor"},
             {Method::GET, all + "/" + id + "/failures?cursor=01-1", "", 400, "cursor"},
             {Method::GET, all + "/" + id + "/failures?cursor=1-x", "", 400, "cursor"},
             {Method::GET, all + "/" + nobody, "", 404, "no such rewrap job"},
             {Method::GET, all + "/unknown", "", 404, "no such rewrap job"},
             {Method::GET, all + "/" + nobody + "/failures", "", 404, "no such rewrap job"},
             {Method::POST, all + "/" + nobody + "/cancel", "", 404, "no such rewrap job"}}) {
        const auto answer = send(method, target, body);
        EXPECT_EQ(answer.status, status) << target << " " << body << ": " << answer.body;
        EXPECT_NE(answer.message().find(part), std::string::npos) << target << answer.body;
    }
    keys_.unavailable = true;
    EXPECT_EQ(send(Method::POST, all).status, 503U);
}

TEST_F(RewrapTest, AGrantOfAnotherActionIsRefused) {
    auto asked = operation("operator");
    const auto grant =
        authorizer_.authorize(asked, vault::describe_rewrap_job, vault::rewrap_job_resource("*"));
    EXPECT_ERROR(internal, rewraps_.start(grant, 0, ""));
    EXPECT_ERROR(internal, rewraps_.cancel(grant));
    EXPECT_ERROR(not_found, rewraps_.describe(grant));
}

// What decides over the workers' speed and the statement is found by the index, not by reading all.
TEST_F(RewrapTest, TheIndexAnswersWhatStillNeedsAnOlderVersion) {
    put("a", "{}");
    for (const auto* query :
         {"SELECT COUNT(*) FROM versions WHERE erased_at IS NULL AND key_id < 'k'",
          "SELECT COUNT(*) FROM versions WHERE erased_at IS NULL AND key_id = 'k' AND "
          "key_version < 4",
          "SELECT key_id, key_version FROM versions WHERE erased_at IS NULL AND (key_id, "
          "key_version) > ('k', 1) ORDER BY key_id, key_version LIMIT 1",
          "SELECT credential, version FROM versions WHERE erased_at IS NULL AND key_id = 'k' AND "
          "key_version = 1 AND (credential, version) > (1, 2) ORDER BY credential, version LIMIT "
          "1"}) {
        std::string plan;
        node_.database->read([&](server::Session& session) {
            const soci::rowset<soci::row> rows =
                (session.prepare << std::string("EXPLAIN QUERY PLAN ") + query);
            for (const auto& row : rows) plan += row.get<std::string>(3) + "\n";
        });
        EXPECT_NE(plan.find("SEARCH versions USING COVERING INDEX versions_by_key"),
                  std::string::npos)
            << query << "\n"
            << plan;
        EXPECT_EQ(plan.find("TEMP B-TREE"), std::string::npos) << plan;
    }
}

}  // namespace
}  // namespace tests
