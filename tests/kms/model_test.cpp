// Random sequences of orders against the real service, each compared with a model of a few lines
// that knows no store, no token and no catalogue: states, versions, and what may be done with them.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

#include "kms/lifecycle.h"
#include "tests/kms/key_service_rig.h"
#include "tests/support/fake_token.h"

namespace tests {
namespace {

using kms::KeyState;

constexpr std::chrono::hours model_day{24};

// What a key should be.
struct ModelKey {
    KeyState state = KeyState::enabled;
    bool is_compromised = false;
    std::uint32_t primary = 1;
    std::vector<bool> alive = {true};  // for each version
    std::optional<int> period;
    std::optional<base::Time> next_rotation;
    std::optional<base::Time> deletion;
    bool has_leftover = false;  // the token has a version that was never put in service
    std::vector<base::Bytes> wrapped;

    bool works() const { return state == KeyState::enabled; }

    void rotated(base::Time now) {
        alive.push_back(true);
        primary = static_cast<std::uint32_t>(alive.size());
        has_leftover = false;
        if (period) next_rotation = now + model_day * *period;
    }
};

class Model : public testing::TestWithParam<unsigned> {
protected:
    void SetUp() override { restart(); }

    // A start finishes what the token has, and gives up what it has not.
    void restart() {
        const FakeClock now =
            rig_ ? FakeClock(base::to_milliseconds(rig_->clock.now())) : FakeClock();
        rig_.reset();
        rig_ = std::make_unique<KeyServiceRig>(token_, folder_.path(), now);
        for (auto& [id, key] : keys_) {
            settle_nothing(id, key);
            if (key.has_leftover) key.rotated(now.now());
        }
    }

    std::size_t pick(std::size_t count) { return random_() % count; }

    std::map<base::Uuid, ModelKey>::iterator any_key() {
        auto it = keys_.begin();
        std::advance(it, static_cast<std::ptrdiff_t>(pick(keys_.size())));
        return it;
    }

    server::Grant grant(server::Action action, const std::string& id) {
        return rig_->grant(root_, action, id);
    }

    // Runs `order` and says whether it was permitted; any other trouble fails the test.
    template <typename Order>
    bool permitted(Order order) {
        try {
            order();
            return true;
        } catch (const base::Error& error) {
            EXPECT_EQ(error.code(), base::ErrorCode::failed_precondition) << error.what();
            return false;
        }
    }

    void create() {
        kms::NewKey wanted;
        if (pick(2) == 0) wanted.rotation_period_days = 1 + static_cast<int>(pick(20));
        const auto made = rig_->lifecycle.create(grant(kms::create_key, "*"), wanted).key;
        ModelKey key;
        key.period = wanted.rotation_period_days;
        if (key.period) key.next_rotation = rig_->clock.now() + model_day * *key.period;
        keys_.emplace(made->id, std::move(key));
    }

    void rotate() {
        const auto chosen = any_key();
        const base::Uuid& id = chosen->first;
        ModelKey& key = chosen->second;
        // Sometimes the token dies, before or after it made the key.
        const std::size_t fate = pick(4);
        token_.fails_to_generate = fate == 0;
        token_.dies_after_generate = fate == 1;
        bool died = false;
        bool was_permitted = false;
        try {
            rig_->lifecycle.rotate(grant(kms::rotate_key, id.to_string()), id);
            was_permitted = true;
        } catch (const base::Error& error) {
            died = error.code() == base::ErrorCode::unavailable;
            EXPECT_TRUE(died || error.code() == base::ErrorCode::failed_precondition);
        }
        token_.fails_to_generate = token_.dies_after_generate = false;
        if (!key.works()) {
            EXPECT_FALSE(was_permitted || died);
            return;
        }
        if (key.has_leftover) {
            EXPECT_TRUE(was_permitted);  // finished, without asking the token for another
            key.rotated(rig_->clock.now());
        } else if (fate == 0) {
            EXPECT_TRUE(died);
            settle_nothing(id, key);
            pending_nothing_.insert(id);
        } else {
            settle_nothing(id, key);
            if (fate == 1) {
                EXPECT_TRUE(died);
                key.has_leftover = true;
            } else {
                EXPECT_TRUE(was_permitted);
                key.rotated(rig_->clock.now());
            }
        }
    }

    // A version that the token never made is given up by the next making, and its number is gone.
    void settle_nothing(const base::Uuid& id, ModelKey& key) {
        if (pending_nothing_.erase(id) != 0) key.alive.push_back(false);
    }

    void go_to_state() {
        const auto chosen = any_key();
        const base::Uuid& id = chosen->first;
        ModelKey& key = chosen->second;
        const std::string name = id.to_string();
        auto& lifecycle = rig_->lifecycle;
        const bool can_switch = key.state == KeyState::enabled || key.state == KeyState::disabled;
        switch (pick(5)) {
            case 0:
                EXPECT_EQ(permitted([&] { lifecycle.enable(grant(kms::enable_key, name), id); }),
                          can_switch);
                if (can_switch) key.state = KeyState::enabled;
                break;
            case 1:
                EXPECT_EQ(permitted([&] { lifecycle.disable(grant(kms::disable_key, name), id); }),
                          can_switch);
                if (can_switch) key.state = KeyState::disabled;
                break;
            case 2: {
                const bool can = can_switch || key.state == KeyState::compromised;
                const int days = 7 + static_cast<int>(pick(24));
                EXPECT_EQ(permitted([&] {
                              lifecycle.schedule_deletion(grant(kms::schedule_key_deletion, name),
                                                          id, days);
                          }),
                          can);
                if (can) key.deletion = rig_->clock.now() + model_day * days;
                if (can) key.state = KeyState::pending_deletion;
                break;
            }
            case 3: {
                const bool can = key.state == KeyState::pending_deletion;
                EXPECT_EQ(permitted([&] {
                              lifecycle.cancel_deletion(grant(kms::cancel_key_deletion, name), id);
                          }),
                          can);
                if (!can) break;
                key.state = key.is_compromised ? KeyState::compromised : KeyState::disabled;
                key.deletion.reset();
                break;
            }
            default: {
                const bool can = key.state != KeyState::destroyed;
                EXPECT_EQ(permitted([&] {
                              lifecycle.mark_compromised(grant(kms::mark_key_compromised, name),
                                                         id);
                          }),
                          can);
                if (!can) break;
                key.is_compromised = true;
                if (key.state != KeyState::pending_deletion) key.state = KeyState::compromised;
            }
        }
    }

    void let_time_pass() {
        rig_->clock.advance(model_day * (1 + pick(6)));
        const auto now = rig_->clock.now();
        for (auto& [id, key] : keys_) {
            const bool rotates = key.works() && key.next_rotation && *key.next_rotation <= now;
            if (rotates && !key.has_leftover) settle_nothing(id, key);
            EXPECT_EQ(rig_->lifecycle.rotate_if_due(id, {}), rotates);
            if (rotates) key.rotated(now);
            const bool ends =
                key.state == KeyState::pending_deletion && key.deletion && *key.deletion <= now;
            EXPECT_EQ(rig_->lifecycle.destroy_if_due(id, {}), ends);
            if (!ends) continue;
            key.state = KeyState::destroyed;
            settle_nothing(id, key);
            if (key.has_leftover) key.alive.push_back(false);
            key.has_leftover = false;
            key.alive.assign(key.alive.size(), false);
        }
    }

    void use() {
        const auto chosen = any_key();
        const base::Uuid& id = chosen->first;
        ModelKey& key = chosen->second;
        EXPECT_EQ(permitted([&] {
                      const auto fresh = rig_->create_data_keys(id);
                      EXPECT_EQ(fresh.key_version, key.primary);
                      key.wrapped.push_back(fresh.keys[0].wrapped);
                  }),
                  key.works());
        if (key.wrapped.empty()) return;
        const auto& old = key.wrapped[pick(key.wrapped.size())];
        EXPECT_EQ(permitted([&] { rig_->unwrap(old); }), key.works());
    }

    void compare() {
        std::size_t token_keys = 0;
        for (const auto& [id, key] : keys_) {
            const auto seen = rig_->catalogue.snapshot()->find(id);
            const auto stored = rig_->store.find(id);
            ASSERT_NE(seen, nullptr);
            ASSERT_TRUE(stored);
            EXPECT_EQ(seen->state, key.state) << id.to_string();
            EXPECT_EQ(seen->revision, stored->revision);
            for (const kms::Key& one : {*seen, *stored}) {
                EXPECT_EQ(one.state, key.state);
                EXPECT_EQ(one.primary_version, key.primary);
                EXPECT_EQ(one.next_rotation_at, key.next_rotation);
            }
            std::vector<bool> alive;
            for (const auto& version : stored->versions) {
                if (version.state == KeyState::pending) continue;
                alive.push_back(version.state == KeyState::enabled);
            }
            EXPECT_EQ(alive, key.alive) << id.to_string();
            token_keys +=
                static_cast<std::size_t>(std::count(key.alive.begin(), key.alive.end(), true));
            if (key.has_leftover) ++token_keys;
        }
        EXPECT_EQ(token_.list_keys(nullptr).size(), token_keys);
    }

    std::mt19937 random_{GetParam()};
    TemporaryDirectory folder_;
    FakeToken token_;
    std::unique_ptr<KeyServiceRig> rig_;
    server::Operation root_ = operation_of("root");
    std::map<base::Uuid, ModelKey> keys_;
    std::set<base::Uuid> pending_nothing_;  // a version was begun that the token never made
};

TEST_P(Model, TheServiceDoesWhatTheModelSays) {
    SCOPED_TRACE("seed " + std::to_string(GetParam()));
    create();
    constexpr int steps = 150;
    for (int step = 0; step < steps && !HasFailure(); ++step) {
        SCOPED_TRACE("step " + std::to_string(step));
        const std::size_t what = pick(20);
        if (what < 2 && keys_.size() < 6) {
            create();
        } else if (what < 6) {
            rotate();
        } else if (what < 11) {
            go_to_state();
        } else if (what < 13) {
            let_time_pass();
        } else if (what < 19) {
            use();
        } else {
            restart();
        }
        compare();
    }
}

INSTANTIATE_TEST_SUITE_P(Seeds, Model, testing::Values(1U, 2U, 3U, 4U, 5U, 6U));

}  // namespace
}  // namespace tests
