// What every vault::RewrapStore keeps, as one suite for all databases. A database joins by
//     INSTANTIATE_TYPED_TEST_SUITE_P(Sqlite, RewrapStoreContract, SqliteRewrapBackend);
// where the backend has open(): a database with the same data each time; and missing(), if it may
// not be there: why.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/encoding.h"
#include "server/database.h"
#include "tests/support/expect_error.h"
#include "vault/destruction.h"
#include "vault/sql_rewrap_store.h"
#include "vault/sql_store.h"

namespace tests {

inline const base::Uuid master_key = *base::Uuid::parse("7f0e0d0c-0b0a-4908-8706-050403020100");
inline const base::Uuid earlier_key = *base::Uuid::parse("0f0e0d0c-0b0a-4908-8706-050403020100");
inline const base::Uuid later_key = *base::Uuid::parse("ff0e0d0c-0b0a-4908-8706-050403020100");

// A text that names its master key as sealed ones do, and says something behind that.
inline std::string sealed_text(const vault::MasterKeyVersion& key, const std::string& payload) {
    base::Bytes wrapped = {'S', 'R', 'd', 'k', 1, 1};
    wrapped.insert(wrapped.end(), key.key_id.bytes().begin(), key.key_id.bytes().end());
    wrapped.insert(wrapped.end(), {0, 0, 0, static_cast<std::uint8_t>(key.version), 7});
    return R"({"__enc":2,"kid":")" + key.key_id.to_string() + "/" + std::to_string(key.version) +
           R"(","dek":")" + base::to_base64(wrapped) + "\n" + payload;
}
inline std::string payload_of(const std::string& text) { return text.substr(text.find('\n') + 1); }
// As a worker would have it.
inline std::string moved_text(const std::string& text, const vault::MasterKeyVersion& to) {
    return sealed_text(to, "moved " + payload_of(text));
}

// A node's stores.
struct RewrapNode {
    explicit RewrapNode(std::unique_ptr<server::Database> opened)
        : database(std::move(opened)), store(*database), rewraps(*database) {}
    std::unique_ptr<server::Database> database;
    vault::SqlStore store;
    vault::SqlRewrapStore rewraps;
};

template <typename Backend>
class RewrapStoreContract : public ::testing::Test {
protected:
    using Lease = vault::RewrapLease;

    void SetUp() override {
        if constexpr (requires { Backend::missing(); }) {
            if (!Backend::missing().empty()) GTEST_SKIP() << Backend::missing();
        }
        reopen();
    }
    void reopen() {
        node_.reset();
        node_ = std::make_unique<RewrapNode>(backend_->open());
    }
    vault::SqlRewrapStore& rewraps() { return node_->rewraps; }

    // The next version of a credential, wrapped by that master key version.
    bool add(const std::string& name, vault::MasterKeyVersion key, std::size_t bytes = 10) {
        const vault::CredentialId id{"acme", name};
        const vault::Head head = node_->store.head(id);
        vault::NewVersion added;
        added.id = id;
        added.version.version = head.last + 1;
        added.version.key_id = key.key_id;
        added.version.key_version = key.version;
        added.version.created_at = now_;
        added.sealed = sealed_text(key, name + std::string(bytes, 's'));
        return node_->store.put(added, head).has_value();
    }
    // Many, by one statement each.
    void fill(std::size_t count, vault::MasterKeyVersion key) {
        const std::string key_id = key.key_id.to_string();
        const long long key_version = key.version;
        const std::string head = sealed_text(key, {});
        const auto last = static_cast<long long>(count - 1);
        node_->database->write([&](server::Session& sql) {
            sql << "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < "
                   ":last) INSERT INTO credentials (owner, name, current_version, last_version, "
                   "metadata, created_at, updated_at) SELECT 'acme', 's' || i, 1, 1, '{}', 1, 1 "
                   "FROM n",
                soci::use(last);
            sql << "INSERT INTO versions (credential, version, sealed, key_id, key_version, "
                   "created_at) SELECT id, 1, :head || name, :key, :version, 1 FROM credentials "
                   "WHERE name LIKE 's%'",
                soci::use(head), soci::use(key_id), soci::use(key_version);
        });
    }
    void destroy(const std::string& name) {
        auto doomed = node_->store.doomed({"acme", name});
        ASSERT_TRUE(doomed);
        const vault::Destruction wanted{base::Uuid::random(), "acme", {*doomed},
                                        "somebody",           now_,   std::nullopt};
        ASSERT_TRUE(node_->store.destroy(
            wanted, {wanted.id, vault::destruction_text(wanted), std::nullopt}));
    }
    vault::RewrapJob begin(std::uint64_t per_second = 0) {
        auto job = rewraps().add({{master_key, 4}, per_second, "operator", now_});
        EXPECT_TRUE(job.has_value());
        return job.value_or(vault::RewrapJob{});
    }
    std::optional<Lease> take() {
        auto task = rewraps().take(now_);
        auto* lease = std::get_if<Lease>(&task);
        if (lease == nullptr) return std::nullopt;
        return std::move(*lease);
    }
    bool is_idle() { return std::holds_alternative<vault::NothingToRewrap>(rewraps().take(now_)); }
    // As a worker does it, except for what `lost` names.
    std::vector<vault::RewrapResult> results_of(const Lease& lease,
                                                const std::set<std::string>& lost = {}) {
        std::vector<vault::RewrapResult> results;
        for (const vault::RewrapRow& row : rewraps().load(*lease.piece)) {
            seen_.insert(row.id.name + "/" + std::to_string(row.place.version));
            vault::RewrapResult result;
            result.place = row.place;
            result.before = row.sealed;
            if (lost.count(row.id.name) == 0) {
                result.after = moved_text(row.sealed, lease.target);
                result.master_key = lease.target;
            } else {
                result.reason = "integrity_failure";
            }
            results.push_back(std::move(result));
        }
        return results;
    }
    // Works until the job is over; the last lease concludes it.
    vault::RewrapJob finish(const base::Uuid& job, const std::set<std::string>& lost = {}) {
        for (;;) {
            auto task = rewraps().take(now_);
            const auto* later = std::get_if<vault::RewrapLater>(&task);
            if (later != nullptr && later->wait.count() == 0) continue;  // the next pass begins
            const auto* lease = std::get_if<Lease>(&task);
            if (lease == nullptr) break;
            if (lease->piece) {
                EXPECT_TRUE(rewraps().settle(*lease, results_of(*lease, lost), now_));
            } else {
                EXPECT_TRUE(rewraps().complete(*lease, now_));
            }
        }
        return *rewraps().find(job);
    }
    // A hand in the database.
    void edit(const std::string& sql) {
        node_->database->write([&](server::Session& session) { session << sql; });
    }
    // What the text says behind its head.
    std::string sealed(const std::string& name, std::uint64_t version = 1) {
        const auto found = node_->store.find_version({"acme", name}, version);
        return found ? payload_of(found->sealed) : "(none)";
    }

    std::unique_ptr<Backend> backend_ = std::make_unique<Backend>();
    std::unique_ptr<RewrapNode> node_;
    base::Time now_ = base::from_milliseconds(1'800'000'000'000);
    std::set<std::string> seen_;  // what workers were given
};

TYPED_TEST_SUITE_P(RewrapStoreContract);

TYPED_TEST_P(RewrapStoreContract, WithoutAJobThereIsNothingToDo) {
    EXPECT_TRUE(this->is_idle());
    EXPECT_FALSE(this->rewraps().find(base::Uuid::random()));
    EXPECT_FALSE(this->rewraps().cancel(base::Uuid::random(), this->now_));
    EXPECT_TRUE(this->rewraps().list(std::nullopt, 10).jobs.empty());
    EXPECT_TRUE(this->rewraps().failures(base::Uuid::random(), {}, 10).failures.empty());
}

TYPED_TEST_P(RewrapStoreContract, EveryVersionUnderAnotherKeyOrAnOlderVersionIsMovedAndNoOther) {
    this->add("old", {master_key, 2});
    this->add("old", {master_key, 3});
    this->add("early", {earlier_key, 9});
    this->add("late", {later_key, 1});
    this->add("right", {master_key, 4});
    this->add("newer", {master_key, 5});
    this->add("gone", {master_key, 3});
    this->destroy("gone");
    const auto job = this->begin();
    EXPECT_EQ(job.total, 4U);
    EXPECT_EQ(job.left(), 4U);
    const auto done = this->finish(job.id);
    EXPECT_EQ(this->seen_, (std::set<std::string>{"early/1", "late/1", "old/1", "old/2"}));
    EXPECT_EQ(done.state, vault::RewrapState::completed);
    EXPECT_EQ(done.done, 4U);
    EXPECT_EQ(done.failed, 0U);
    ASSERT_TRUE(done.statement);
    EXPECT_TRUE(done.statement->is_safe());
    EXPECT_EQ(done.left(), 0U);
    EXPECT_EQ(done.finished_at, this->now_);
    EXPECT_TRUE(this->sealed("old", 2).starts_with("moved old"));
    EXPECT_TRUE(this->sealed("newer").starts_with("newer"));
    const auto found = this->node_->store.find_version({"acme", "late"}, 1);
    EXPECT_EQ(found->version.key_id, master_key);
    EXPECT_EQ(found->version.key_version, 4U);
    EXPECT_TRUE(this->is_idle());
}

TYPED_TEST_P(RewrapStoreContract, AnEmptyStoreIsSafeAtOnce) {
    const auto done = this->finish(this->begin().id);
    EXPECT_EQ(done.state, vault::RewrapState::completed);
    EXPECT_TRUE(done.statement->is_safe());
}

TYPED_TEST_P(RewrapStoreContract, OneJobAtATimeAndTheOthersStayKnown) {
    const auto first = this->begin();
    EXPECT_FALSE(this->rewraps().add({{master_key, 4}, 0, "operator", this->now_}));
    this->finish(first.id);
    this->now_ += std::chrono::seconds(1);
    const auto second = this->begin(7);
    this->reopen();
    const auto found = this->rewraps().find(second.id);
    ASSERT_TRUE(found);
    EXPECT_EQ(found->state, vault::RewrapState::running);
    EXPECT_EQ(found->target, (vault::MasterKeyVersion{master_key, 4}));
    EXPECT_EQ(found->per_second, 7U);
    EXPECT_EQ(found->created_by, "operator");
    EXPECT_EQ(found->created_at, this->now_);
    const auto page = this->rewraps().list(std::nullopt, 1);
    ASSERT_EQ(page.jobs.size(), 1U);
    EXPECT_EQ(page.jobs[0].id, second.id);
    EXPECT_TRUE(page.more);
    const auto rest = this->rewraps().list(second.id, 5);
    ASSERT_EQ(rest.jobs.size(), 1U);
    EXPECT_EQ(rest.jobs[0].id, first.id);
    EXPECT_FALSE(rest.more);
}

TYPED_TEST_P(RewrapStoreContract, PiecesAreBoundedInRecordsAndBytesAndDoNotOverlap) {
    for (int i = 0; i < 5; ++i) this->add("c" + std::to_string(i), {master_key, 1}, 90'000);
    this->fill(vault::max_piece_records + 50, {master_key, 3});
    this->begin();
    std::size_t records = 0;
    int pieces = 0;
    while (const auto lease = this->take()) {
        std::size_t bytes = 0;
        const auto rows = this->rewraps().load(*lease->piece);
        for (const auto& row : rows) {
            EXPECT_EQ(row.master_key, lease->piece->from);
            EXPECT_TRUE(this->seen_.insert(row.id.name).second) << row.id.name;
            bytes += row.sealed.size();
        }
        EXPECT_EQ(rows.size(), lease->piece->records);
        EXPECT_LE(rows.size(), vault::max_piece_records);
        EXPECT_LE(bytes, vault::max_piece_bytes);
        records += rows.size();
        ++pieces;
    }
    EXPECT_EQ(records, vault::max_piece_records + 55);
    EXPECT_EQ(pieces, 3) << "one of the first version, two of the other";
}

TYPED_TEST_P(RewrapStoreContract, LargeTextsMakeSmallPieces) {
    for (int i = 0; i < 30; ++i) this->add("c" + std::to_string(i), {master_key, 1}, 90'000);
    this->begin();
    const auto lease = this->take();
    EXPECT_EQ(lease->piece->records, 23U);
}

TYPED_TEST_P(RewrapStoreContract, WhatAWorkerLeftIsTakenOverWhenItsLeaseEndsAndCountsOnce) {
    for (int i = 0; i < 3; ++i) this->add("c" + std::to_string(i), {master_key, 1});
    const auto job = this->begin();
    const auto left = this->take();
    ASSERT_TRUE(left && left->piece);
    const auto late = this->results_of(*left);
    EXPECT_FALSE(this->take()) << "another one has it";
    this->reopen();
    this->now_ += vault::rewrap_lease;
    const auto taken = this->take();
    ASSERT_TRUE(taken && taken->piece);
    EXPECT_NE(taken->id, left->id);
    EXPECT_EQ(this->results_of(*taken).size(), 3U);
    EXPECT_FALSE(this->rewraps().settle(*left, late, this->now_)) << "it is another's by now";
    EXPECT_TRUE(this->sealed("c0").starts_with("c0"));
    EXPECT_TRUE(this->rewraps().settle(*taken, this->results_of(*taken), this->now_));
    EXPECT_FALSE(this->rewraps().settle(*taken, late, this->now_));
    EXPECT_EQ(this->finish(job.id).done, 3U);
}

TYPED_TEST_P(RewrapStoreContract, AStoreOrADestroyMeanwhileWins) {
    for (const auto* name : {"kept", "replaced", "destroyed", "edited"})
        this->add(name, {master_key, 1});
    const auto job = this->begin();
    const auto lease = this->take();
    auto results = this->results_of(*lease);
    ASSERT_EQ(results.size(), 4U);
    this->add("replaced", {master_key, 4});
    this->destroy("destroyed");
    for (auto& result : results) {
        if (payload_of(result.before).starts_with("edited")) result.before += "!";
    }
    ASSERT_TRUE(this->rewraps().settle(*lease, results, this->now_));
    EXPECT_TRUE(this->sealed("kept").starts_with("moved"));
    EXPECT_TRUE(this->sealed("replaced", 2).starts_with("replaced"));
    EXPECT_TRUE(this->sealed("edited").starts_with("edited")) << "it was not what had been read";
    EXPECT_EQ(this->sealed("destroyed"), "(none)");
    const auto job_now = *this->rewraps().find(job.id);
    EXPECT_EQ(job_now.done, 2U);
    EXPECT_EQ(job_now.superseded, 2U);
    EXPECT_EQ(job_now.left(), 0U);
    const auto done = this->finish(job.id);
    EXPECT_TRUE(done.statement->is_safe()) << "what was edited came in the next pass";
    EXPECT_EQ(done.done, 3U);
}

TYPED_TEST_P(RewrapStoreContract, ACancelledJobStopsAndItsWorkUnderWayIsThrownAway) {
    this->add("a", {master_key, 1});
    const auto job = this->begin();
    const auto lease = this->take();
    const auto results = this->results_of(*lease);
    const auto cancelled = this->rewraps().cancel(job.id, this->now_);
    ASSERT_TRUE(cancelled);
    EXPECT_EQ(cancelled->state, vault::RewrapState::cancelled);
    EXPECT_EQ(cancelled->finished_at, this->now_);
    EXPECT_FALSE(cancelled->statement);
    EXPECT_FALSE(this->rewraps().settle(*lease, results, this->now_));
    EXPECT_TRUE(this->sealed("a").starts_with("a"));
    EXPECT_TRUE(this->is_idle());
    EXPECT_EQ(this->finish(this->begin().id).done, 1U);
    EXPECT_EQ(this->rewraps().cancel(job.id, this->now_)->state, vault::RewrapState::cancelled);
}

TYPED_TEST_P(RewrapStoreContract, APieceThatIsGivenBackIsTriedLaterAndTheJobSaysWhy) {
    this->fill(vault::max_piece_records + 1, {master_key, 1});
    const auto job = this->begin();
    const auto lease = this->take();
    this->rewraps().give_back(*lease, "the key service is away", std::chrono::seconds(3),
                              this->now_);
    EXPECT_EQ(this->rewraps().find(job.id)->trouble, "the key service is away");
    EXPECT_FALSE(this->take()) << "nothing else is begun meanwhile";
    this->now_ += std::chrono::seconds(3);
    const auto again = this->take();
    ASSERT_TRUE(again && again->piece);
    EXPECT_EQ(again->piece->records, lease->piece->records);
    this->rewraps().give_back(*lease, "late", std::chrono::seconds(0), this->now_);
    ASSERT_TRUE(this->rewraps().settle(*again, this->results_of(*again), this->now_))
        << "a lease of another id is not given back";
    EXPECT_EQ(this->rewraps().find(job.id)->trouble, "");
    EXPECT_EQ(this->finish(job.id).done, vault::max_piece_records + 1);
}

TYPED_TEST_P(RewrapStoreContract, TheRateHoldsForAllWorkersTogether) {
    for (int i = 0; i < 10; ++i) this->add("c" + std::to_string(i), {master_key, 1});
    const auto job = this->begin(4);
    std::vector<std::size_t> records;
    for (int half_second = 0; half_second < 6; ++half_second) {
        std::size_t taken = 0;
        while (const auto lease = this->take()) {
            if (!lease->piece) break;
            taken += lease->piece->records;
            ASSERT_TRUE(this->rewraps().settle(*lease, this->results_of(*lease), this->now_));
        }
        records.push_back(taken);
        this->now_ += std::chrono::milliseconds(500);
    }
    EXPECT_EQ(records, (std::vector<std::size_t>{4, 0, 4, 0, 2, 0}));
}

TYPED_TEST_P(RewrapStoreContract, TheRateAndTheTimeLeftFollowTheLastSeconds) {
    this->fill(40, {master_key, 1});
    const auto job = this->begin(10);  // and so many in a piece
    const double records = 10;
    const auto settle_one = [&] {
        const auto lease = this->take();
        ASSERT_TRUE(this->rewraps().settle(*lease, this->results_of(*lease), this->now_));
    };
    this->now_ += std::chrono::seconds(5);
    settle_one();
    EXPECT_DOUBLE_EQ(this->rewraps().find(job.id)->rate(this->now_), records / 5);
    this->now_ += std::chrono::seconds(5);
    settle_one();
    EXPECT_DOUBLE_EQ(this->rewraps().find(job.id)->rate(this->now_), 2 * records / 10);
    this->now_ += std::chrono::seconds(10);
    settle_one();
    EXPECT_DOUBLE_EQ(this->rewraps().find(job.id)->rate(this->now_), records / 10);
    EXPECT_EQ(this->rewraps().find(job.id)->left(), 10U);
}

REGISTER_TYPED_TEST_SUITE_P(
    RewrapStoreContract, WithoutAJobThereIsNothingToDo,
    EveryVersionUnderAnotherKeyOrAnOlderVersionIsMovedAndNoOther, AnEmptyStoreIsSafeAtOnce,
    OneJobAtATimeAndTheOthersStayKnown, PiecesAreBoundedInRecordsAndBytesAndDoNotOverlap,
    LargeTextsMakeSmallPieces, WhatAWorkerLeftIsTakenOverWhenItsLeaseEndsAndCountsOnce,
    AStoreOrADestroyMeanwhileWins, ACancelledJobStopsAndItsWorkUnderWayIsThrownAway,
    APieceThatIsGivenBackIsTriedLaterAndTheJobSaysWhy, TheRateHoldsForAllWorkersTogether,
    TheRateAndTheTimeLeftFollowTheLastSeconds);

}  // namespace tests
