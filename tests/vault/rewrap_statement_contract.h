// What every store of rewrap jobs must do about failures, and about the statement at the end.
// Beside rewrap_store_contract.h, in the same test files.
#pragma once

#include "tests/vault/rewrap_store_contract.h"

namespace tests {

template <typename Backend>
class RewrapStatementContract : public RewrapStoreContract<Backend> {};

TYPED_TEST_SUITE_P(RewrapStatementContract);

TYPED_TEST_P(RewrapStatementContract,
             WhatFailsIsListedTriedAgainAndKeepsTheStatementFromBeingSafe) {
    for (const auto* name : {"a", "b", "c", "d"}) this->add(name, {master_key, 1});
    const auto job = this->begin();
    const auto done = this->finish(job.id, {"b", "c"});
    EXPECT_EQ(done.state, vault::RewrapState::completed);
    EXPECT_EQ(done.pass, vault::rewrap_passes);
    EXPECT_EQ(done.done, 2U);
    EXPECT_EQ(done.failed, 2U);
    ASSERT_TRUE(done.statement);
    EXPECT_EQ(done.statement->remaining, 2U);
    EXPECT_FALSE(done.statement->is_safe());
    EXPECT_EQ(done.left(), 2U);
    const auto first = this->rewraps().failures(job.id, {}, 1);
    ASSERT_EQ(first.failures.size(), 1U);
    EXPECT_EQ(first.failures[0].id.name, "b");
    EXPECT_EQ(first.failures[0].version, 1U);
    EXPECT_EQ(first.failures[0].reason, "integrity_failure");
    EXPECT_EQ(first.failures[0].at, this->now_);
    ASSERT_TRUE(first.next);
    const auto second = this->rewraps().failures(job.id, *first.next, 1);
    ASSERT_EQ(second.failures.size(), 1U);
    EXPECT_EQ(second.failures[0].id.name, "c");
    EXPECT_FALSE(second.next);
    this->destroy("b");
    EXPECT_EQ(this->rewraps().failures(job.id, {}, 9).failures.size(), 1U);
    EXPECT_TRUE(this->add("b", {master_key, 1})) << "nothing was said of that version";
}

TYPED_TEST_P(RewrapStatementContract,
             ATextThatNamesAnotherKeyThanItsColumnsKeepsTheStatementFromBeingSafe) {
    const std::string of_old =
        " WHERE credential = (SELECT id FROM credentials WHERE name = 'old')";
    for (const std::string& sql : {
             "UPDATE versions SET key_version = 4" + of_old,
             "UPDATE versions SET key_version = 9" + of_old,
             "UPDATE versions SET erased_at = 1" + of_old,
             "UPDATE versions SET key_version = 4, sealed = 'none'" + of_old,
             "UPDATE versions SET key_version = 4, sealed = ''" + of_old,
             "UPDATE versions SET key_version = 4, sealed = replace(sealed, '/3\"', '/4\"')" +
                 of_old,
         }) {
        SCOPED_TRACE(sql);
        this->node_.reset();
        this->backend_ = std::make_unique<TypeParam>();
        this->reopen();
        this->add("old", {master_key, 3});
        this->add("right", {master_key, 4});
        this->add("gone", {master_key, 3});
        this->destroy("gone");
        this->edit(sql);
        const auto job = this->begin();
        const auto done = this->finish(job.id);
        ASSERT_TRUE(done.statement);
        EXPECT_EQ(done.statement->remaining, 0U);
        EXPECT_EQ(done.statement->differing, 1U);
        EXPECT_FALSE(done.statement->is_safe());
        EXPECT_TRUE(this->add("late", {master_key, 3})) << "nothing was said of that version";
        const auto listed = this->rewraps().failures(job.id, {}, 9).failures;
        if (sql.find("erased_at") != std::string::npos) continue;  // it is said to be no more
        ASSERT_EQ(listed.size(), 1U);
        EXPECT_EQ(listed.front().id.name, "old");
    }
}

TYPED_TEST_P(RewrapStatementContract, TextsAreReadToTheLastAPartAtATime) {
    this->fill(30'000, {master_key, 4});
    this->add("last", {master_key, 4});
    this->edit(
        "UPDATE versions SET sealed = 'none' WHERE credential IN (SELECT id FROM credentials "
        "WHERE name IN ('s0', 's29999', 'last'))");
    const auto job = this->begin();
    ASSERT_FALSE(this->take()) << "a worker can be ended in between";
    EXPECT_EQ(this->rewraps().find(job.id)->state, vault::RewrapState::running);
    EXPECT_EQ(this->finish(job.id).statement->differing, 3U);
}

TYPED_TEST_P(RewrapStatementContract, AFailureThatMendsIsNoneAnyMore) {
    this->add("a", {master_key, 1});
    const auto job = this->begin();
    const auto lease = this->take();
    const auto fresh = this->rewraps().settle(*lease, this->results_of(*lease, {"a"}), this->now_);
    ASSERT_TRUE(fresh);
    EXPECT_EQ(fresh->size(), 1U);
    EXPECT_EQ(this->rewraps().find(job.id)->failed, 1U);
    ASSERT_FALSE(this->take()) << "the next pass begins";
    const auto again = this->take();
    ASSERT_TRUE(again);
    EXPECT_EQ(again->pass, 2U);
    const auto known = this->rewraps().settle(*again, this->results_of(*again, {"a"}), this->now_);
    EXPECT_TRUE(known->empty()) << "it is known already";
    const auto done = this->finish(job.id);
    EXPECT_EQ(done.failed, 0U);
    EXPECT_EQ(done.done, 1U);
    EXPECT_TRUE(done.statement->is_safe());
}

TYPED_TEST_P(RewrapStatementContract,
             WhatIsStoredUnderAnOlderVersionMeanwhileIsMovedInTheNextPass) {
    this->add("a", {master_key, 1});
    const auto job = this->begin();
    const auto lease = this->take();
    this->add("0", {earlier_key, 1});  // before everything in the index
    ASSERT_TRUE(this->rewraps().settle(*lease, this->results_of(*lease), this->now_));
    const auto done = this->finish(job.id);
    EXPECT_EQ(done.done, 2U);
    EXPECT_TRUE(done.statement->is_safe());
}

TYPED_TEST_P(RewrapStatementContract,
             AfterTheStatementNothingIsStoredUnderWhatItCalledSafeToRetire) {
    this->finish(this->begin().id);
    EXPECT_FALSE(this->add("late", {master_key, 3}));
    EXPECT_EQ(this->node_->store.head({"acme", "late"}), vault::Head{});
    EXPECT_TRUE(this->add("late", {master_key, 4}));
    EXPECT_TRUE(this->add("late", {master_key, 5}));
    EXPECT_TRUE(this->add("late", {later_key, 1})) << "the alias may lead to another key";
    this->reopen();
    EXPECT_FALSE(this->add("late", {master_key, 3}));
}

TYPED_TEST_P(RewrapStatementContract, AStatementWhoseRecorderDiedIsRecordedByAnother) {
    const auto job = this->begin();
    const auto first = this->take();
    ASSERT_TRUE(first);
    EXPECT_FALSE(first->piece);
    EXPECT_EQ(this->rewraps().find(job.id)->state, vault::RewrapState::concluding);
    EXPECT_EQ(this->rewraps().cancel(job.id, this->now_)->state, vault::RewrapState::concluding);
    EXPECT_FALSE(this->take());
    this->now_ += vault::rewrap_lease;
    const auto second = this->take();
    ASSERT_TRUE(second);
    EXPECT_FALSE(second->piece);
    EXPECT_FALSE(this->rewraps().complete(*first, this->now_));
    EXPECT_TRUE(this->rewraps().complete(*second, this->now_));
    EXPECT_EQ(this->rewraps().find(job.id)->state, vault::RewrapState::completed);
}

REGISTER_TYPED_TEST_SUITE_P(RewrapStatementContract,
                            WhatFailsIsListedTriedAgainAndKeepsTheStatementFromBeingSafe,
                            ATextThatNamesAnotherKeyThanItsColumnsKeepsTheStatementFromBeingSafe,
                            TextsAreReadToTheLastAPartAtATime, AFailureThatMendsIsNoneAnyMore,
                            WhatIsStoredUnderAnOlderVersionMeanwhileIsMovedInTheNextPass,
                            AfterTheStatementNothingIsStoredUnderWhatItCalledSafeToRetire,
                            AStatementWhoseRecorderDiedIsRecordedByAnother);

}  // namespace tests
