// What destructions in every store of credentials must do. Beside store_contract.h, in the same
// test files.
#pragma once

#include "tests/vault/store_contract.h"

namespace tests {

template <typename Backend>
class StoreDestructionContract : public StoreContract<Backend> {};

TYPED_TEST_SUITE_P(StoreDestructionContract);

TYPED_TEST_P(StoreDestructionContract, DestructionTakesAllVersionsAndLeavesARecord) {
    this->add(instagram, "one", R"({"a":1})");
    this->add(instagram, "two");
    this->add({"acme", "other"}, "stays");
    const auto record = destroy(*this->store_, instagram, "spiffe://strongroom/app", at(77));
    ASSERT_TRUE(record);
    EXPECT_EQ(record->versions(), 2U);
    EXPECT_FALSE(destroy(*this->store_, instagram, "again", at(78))) << "it is gone";
    this->reopen();
    EXPECT_FALSE(this->store_->find(instagram));
    EXPECT_FALSE(this->store_->find_version(instagram, std::nullopt));
    EXPECT_FALSE(this->store_->find_version(instagram, 1));
    const auto records = destructions(*this->store_, instagram);
    ASSERT_EQ(records.size(), 1U);
    EXPECT_EQ(records[0].id, record->id);
    EXPECT_EQ(records[0].text, vault::destruction_text(*record));
    EXPECT_FALSE(records[0].signature);
    EXPECT_EQ(this->store_->find_version({"acme", "other"}, std::nullopt)->sealed, "stays");
}

TYPED_TEST_P(StoreDestructionContract, ADestructionOfWhatChangedMeanwhileChangesNothing) {
    this->add(instagram, "one");
    this->add({"acme", "other"}, "other");
    const auto plan = [&] {
        return vault::Destruction{
            base::Uuid::random(),
            "acme",
            {*this->store_->doomed({"acme", "other"}), *this->store_->doomed(instagram)},
            "somebody",
            at(9),
            std::nullopt};
    };
    const auto refused = [&](const vault::Destruction& wanted) {
        EXPECT_FALSE(this->store_->destroy(
            wanted, {wanted.id, vault::destruction_text(wanted), std::nullopt}));
        EXPECT_EQ(this->store_->find_version({"acme", "other"}, std::nullopt)->sealed, "other");
        EXPECT_TRUE(this->store_->destructions("acme", "", 0, 10).records.empty());
    };
    auto wanted = plan();
    this->add(instagram, "two");
    refused(wanted);
    wanted = plan();
    wanted.credentials.back().versions = 1;
    refused(wanted);
    wanted = plan();
    wanted.erasure = vault::Erasure{wanted.id, 1, 2, 3, true};
    this->add({"acme", "third"});
    refused(wanted);
    wanted.erasure->complete = false;
    wanted.erasure->part = 2;
    refused(wanted);
    wanted.erasure->part = 1;
    EXPECT_TRUE(
        this->store_->destroy(wanted, {wanted.id, vault::destruction_text(wanted), std::nullopt}));
    EXPECT_FALSE(this->store_->find(instagram));
    EXPECT_TRUE(this->store_->find({"acme", "third"}));
}

TYPED_TEST_P(StoreDestructionContract, AnOwnersErasureGoesOnWhereItStopped) {
    for (const auto* name : {"a", "b", "c"}) this->add({"acme", name});
    this->add({"acme", "b"});
    this->add({"acme2", "a"});
    auto part = this->store_->next_part("acme", 2, 100);
    EXPECT_FALSE(part.begun);
    EXPECT_FALSE(part.last);
    ASSERT_EQ(part.credentials.size(), 2U);
    EXPECT_EQ(part.credentials[1].name, "b");
    EXPECT_EQ(part.credentials[1].versions, 2U);
    EXPECT_EQ(part.credentials[1].head, (vault::Head{2, 2}));
    EXPECT_EQ(this->store_->next_part("acme", 3, 2).credentials.size(), 1U) << "of 2 versions";
    EXPECT_EQ(this->store_->next_part("acme", 3, 3).credentials.size(), 2U);
    EXPECT_EQ(this->store_->next_part("acme", 3, 0).credentials.size(), 1U) << "one at least";
    EXPECT_TRUE(this->store_->next_part("acme", 3, 100).last);
    const auto erase = [&](std::uint64_t number, bool complete) {
        const auto next = this->store_->next_part("acme", 2, 100);
        vault::Destruction wanted{base::Uuid::random(), "acme", next.credentials, "x", at(9),
                                  std::nullopt};
        wanted.erasure = next.begun.value_or(vault::Erasure{wanted.id, 0, 0, 0, false});
        wanted.erasure->part = number;
        wanted.erasure->credentials += next.credentials.size();
        wanted.erasure->versions += wanted.versions();
        wanted.erasure->complete = complete;
        return this->store_->destroy(wanted,
                                     {wanted.id, vault::destruction_text(wanted), std::nullopt});
    };
    EXPECT_TRUE(erase(1, false));
    this->reopen();
    EXPECT_FALSE(erase(1, false)) << "another may have begun in the same moment";
    part = this->store_->next_part("acme", 2, 100);
    ASSERT_TRUE(part.begun);
    EXPECT_EQ(part.begun->part, 1U);
    EXPECT_EQ(part.begun->credentials, 2U);
    EXPECT_EQ(part.begun->versions, 3U);
    EXPECT_TRUE(part.last);
    EXPECT_TRUE(erase(2, true));
    part = this->store_->next_part("acme", 2, 100);
    EXPECT_FALSE(part.begun) << "complete";
    EXPECT_TRUE(part.credentials.empty());
    EXPECT_TRUE(part.last);
    EXPECT_TRUE(this->store_->find({"acme2", "a"}));
    EXPECT_TRUE(this->store_->list("acme", "", 10).credentials.empty());
}

TYPED_TEST_P(StoreDestructionContract, RecordsOfDestructionsComeBackAsTheyWentPageByPage) {
    std::vector<vault::DestructionRecord> made;
    for (const auto* name : {"a", "b", "a", "c"}) {
        this->add({"acme", name});
        vault::Destruction wanted{
            base::Uuid::random(), "acme", {*this->store_->doomed({"acme", name})}, "o'; --ü", at(9),
            std::nullopt};
        vault::DestructionSignature signature{
            {1, 2, 0, 255}, "ed25519", {base::Uuid::random(), 4'000'000'000U}};
        made.push_back({wanted.id, vault::destruction_text(wanted), signature});
        ASSERT_TRUE(this->store_->destroy(wanted, made.back()));
    }
    this->add({"globex", "a"});
    destroy(*this->store_, {"globex", "a"}, "x", at(1));
    this->reopen();
    auto page = this->store_->destructions("acme", "", 0, 3);
    ASSERT_EQ(page.records.size(), 3U);
    EXPECT_TRUE(page.more);
    const auto rest = this->store_->destructions("acme", "", page.last, 3);
    EXPECT_FALSE(rest.more);
    ASSERT_EQ(rest.records.size(), 1U);
    page.records.push_back(rest.records.front());
    for (std::size_t i = 0; i < made.size(); ++i) {
        EXPECT_EQ(page.records[i].id, made[i].id);
        EXPECT_EQ(page.records[i].text, made[i].text);
        ASSERT_TRUE(page.records[i].signature);
        EXPECT_EQ(page.records[i].signature->bytes, made[i].signature->bytes);
        EXPECT_EQ(page.records[i].signature->algorithm, "ed25519");
        EXPECT_EQ(page.records[i].signature->key, made[i].signature->key);
    }
    const auto of_a = destructions(*this->store_, {"acme", "a"});
    ASSERT_EQ(of_a.size(), 2U);
    EXPECT_EQ(of_a[1].id, made[2].id);
    EXPECT_TRUE(destructions(*this->store_, {"acme", "d"}).empty());
}

TYPED_TEST_P(StoreDestructionContract, ADestroyedNameBeginsAnewWithHigherNumbers) {
    this->add(instagram, "one", R"({"a":1})");
    this->add(instagram, "two");
    destroy(*this->store_, instagram, "somebody", at(9));
    EXPECT_EQ(this->store_->head(instagram), (vault::Head{0, 2}));
    const auto info = this->add(instagram, "three");
    EXPECT_EQ(info.current().version, 3U);
    EXPECT_EQ(info.metadata, "{}");
    EXPECT_EQ(info.created_at, at(3));
    ASSERT_EQ(info.versions.size(), 1U) << "the erased versions are not shown";
    EXPECT_FALSE(this->store_->find_version(instagram, 1));
    EXPECT_EQ(destroy(*this->store_, instagram, "somebody", at(10))->versions(), 1U);
    EXPECT_EQ(destructions(*this->store_, instagram).size(), 2U);
}

REGISTER_TYPED_TEST_SUITE_P(StoreDestructionContract, DestructionTakesAllVersionsAndLeavesARecord,
                            ADestructionOfWhatChangedMeanwhileChangesNothing,
                            AnOwnersErasureGoesOnWhereItStopped,
                            RecordsOfDestructionsComeBackAsTheyWentPageByPage,
                            ADestroyedNameBeginsAnewWithHigherNumbers);

}  // namespace tests
