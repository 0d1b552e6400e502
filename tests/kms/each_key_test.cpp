// Batches under several master keys of which the token can't use some.
#include "kms/each_key.h"

#include <gtest/gtest.h>

#include <variant>

#include "kms/known_answer.h"
#include "tests/hsm/set_fixture.h"
#include "tests/kms/key_service_rig.h"
#include "tests/support/expect_error.h"

namespace tests {
namespace {

using namespace std::chrono_literals;
using Answer = std::variant<int, base::Error>;

// Answers with the items, and fails for those under one of `failing`.
class EachKey : public testing::Test {
protected:
    struct Item {
        hsm::KeyId key;
        int number;
    };

    std::vector<Answer> ask(std::span<const Item> items, std::chrono::nanoseconds patience = 1h) {
        return kms::answer_each_key(
            items, [](const Item& item) { return item.key; },
            [this](std::span<const Item> some) {
                ++calls_;
                std::vector<Answer> answers;
                for (const Item& item : some) {
                    if (failing_.count(item.key) != 0) throw base::Error(code_, "no");
                    answers.emplace_back(item.number);
                }
                return answers;
            },
            patience);
    }

    const hsm::KeyId first_ = hsm::KeyId::random();
    const hsm::KeyId second_ = hsm::KeyId::random();
    const hsm::KeyId third_ = hsm::KeyId::random();
    const std::vector<Item> items_{{first_, 0}, {second_, 1}, {third_, 2}, {first_, 3}};
    std::set<hsm::KeyId> failing_;
    base::ErrorCode code_ = base::ErrorCode::unavailable;
    int calls_ = 0;
};

TEST_F(EachKey, IsAskedAloneOnlyWhenTheBatchFails) {
    for (int i = 0; i < 4; ++i)
        EXPECT_EQ(std::get<int>(ask(items_)[static_cast<std::size_t>(i)]), i);
    EXPECT_EQ(calls_, 4);
    failing_ = {second_};
    const auto answers = ask(items_);
    EXPECT_EQ(calls_, 4 + 4);
    EXPECT_EQ(std::get<int>(answers[0]), 0);
    EXPECT_EQ(std::get<base::Error>(answers[1]).message(), "no");
    EXPECT_EQ(std::get<int>(answers[2]), 2);
    EXPECT_EQ(std::get<int>(answers[3]), 3);
}

TEST_F(EachKey, ATokenThatTakesLongToFailIsAskedOnce) {
    failing_ = {second_};
    EXPECT_ERROR(unavailable, ask(items_, 0ns));
    EXPECT_EQ(calls_, 1);
}

TEST_F(EachKey, WhatFailsForAllKeysOrOtherwiseFailsTheBatch) {
    failing_ = {first_, second_, third_};
    EXPECT_ERROR(unavailable, ask(items_));
    failing_ = {second_};
    code_ = base::ErrorCode::failed_precondition;
    EXPECT_ERROR(failed_precondition, ask(items_));
    calls_ = 0;
    code_ = base::ErrorCode::unavailable;
    EXPECT_ERROR(unavailable, ask(std::span(items_).subspan(1, 1)));
    EXPECT_EQ(calls_, 1);
}

// In this process, in a worker, and as a set that has the keys in its first member only.
template <typename Fixture>
class ExchangedKeys : public testing::Test {
protected:
    ExchangedKeys() {
        for (const auto* alias : {"a", "b", "c", "d"}) {
            keys_.push_back(rig_.create_key(alias));
            wrapped_.push_back(rig_.create_data_keys(keys_.back()->id).keys[0].wrapped);
        }
        // As if each of the first two lay under the other's id, and as a start finds them.
        for (const std::size_t i : {0U, 1U}) {
            kms::Key key = *keys_[i];
            key.versions[0].token_key_id = keys_[1 - i]->primary().token_key_id;
            rig_.catalogue.put(key);
            EXPECT_EQ(kms::hold_to_known_answer(*token_, key, key.versions[0]),
                      kms::KeyProof::different);
        }
    }
    // A machine that stands still for a moment looks like a token that hangs: once more then.
    template <typename Ask>
    static auto ask_quickly(Ask ask) {
        for (int tries = 0;; ++tries) {
            const auto start = std::chrono::steady_clock::now();
            const auto is_late = [&] {
                return tries < 50 && std::chrono::steady_clock::now() - start > kms::quick_failure;
            };
            try {
                auto answers = ask();
                if (!is_late()) return answers;
            } catch (const base::Error&) {
                if (!is_late()) throw;
            }
        }
    }
    bool is_wrong(std::size_t key) const { return key < 2; }
    kms::OpenJob opening(const server::Grant& grant, std::size_t key) const {
        return {&grant, nullptr, &none_,
                *kms::parse_envelope(kms::EnvelopeKind::data_key, wrapped_[key])};
    }
    std::vector<server::Grant> grants(server::Action action) {
        std::vector<server::Grant> grants;
        for (const auto& key : keys_)
            grants.push_back(rig_.grant(operation_, action, key->id.to_string()));
        return grants;
    }

    TemporaryDirectory folder_;
    Fixture fixture_;
    base::Log log_{"kmsd", base::LogLevel::error};
    std::unique_ptr<hsm::Token> token_ = fixture_.open(log_);
    KeyServiceRig rig_{*token_, folder_.path()};
    server::Operation operation_ = operation_of("root");
    const kms::Context none_;
    std::vector<kms::KeyPointer> keys_;
    std::vector<base::Bytes> wrapped_;
};

using Tokens = testing::Types<SoftHsmToken, Remote<SoftHsmToken>, Copied<SoftHsmToken>>;
TYPED_TEST_SUITE(ExchangedKeys, Tokens);

TYPED_TEST(ExchangedKeys, AreNoMatterOfTheOthersInABatchOfUnwraps) {
    const auto grants = this->grants(kms::unwrap_data_key);
    const std::vector<std::size_t> order{2, 0, 3, 1, 2, 0};
    std::vector<kms::OpenJob> jobs;
    for (const std::size_t key : order) jobs.push_back(this->opening(grants[key], key));
    for (int round = 0; round < 3; ++round) {
        const auto answers =
            this->ask_quickly([&] { return this->rig_.service.unwrap_many(jobs); });
        for (std::size_t i = 0; i < order.size(); ++i) {
            const auto* error = std::get_if<base::Error>(&answers[i]);
            ASSERT_EQ(error != nullptr, this->is_wrong(order[i])) << i;
            if (error != nullptr) {
                EXPECT_EQ(error->code(), base::ErrorCode::unavailable);
            }
        }
    }
}

TYPED_TEST(ExchangedKeys, AreNoMatterOfTheOthersInABatchOfRewraps) {
    const auto grants = this->grants(kms::rewrap_data_key);
    const kms::Context other(kms::EncryptionContext{{"a", "b"}});
    std::vector<kms::RewrapJob> jobs;
    std::vector<bool> is_wrong;
    for (std::size_t from = 0; from < 4; ++from) {
        for (std::size_t to = 0; to < 4; ++to) {
            jobs.push_back(
                {this->opening(grants[from], from), &grants[to], this->keys_[to]->id, &other});
            is_wrong.push_back(this->is_wrong(from) || this->is_wrong(to));
        }
    }
    const auto answers = this->ask_quickly([&] { return this->rig_.service.rewrap_many(jobs); });
    for (std::size_t i = 0; i < jobs.size(); ++i) {
        const auto* error = std::get_if<base::Error>(&answers[i]);
        ASSERT_EQ(error != nullptr, is_wrong[i]) << i;
        if (error != nullptr) {
            EXPECT_EQ(error->code(), base::ErrorCode::unavailable);
        } else {
            EXPECT_NO_THROW(this->rig_.unwrap(kms::to_bytes(std::get<kms::Envelope>(answers[i])),
                                              {{"a", "b"}}));
        }
    }
}

}  // namespace
}  // namespace tests
