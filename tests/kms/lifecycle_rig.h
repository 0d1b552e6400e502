// A key service with the shortest way to each order in the life of a key, on a token of the tests'.
#pragma once

#include <gtest/gtest.h>

#include "kms/lifecycle.h"
#include "tests/kms/key_service_rig.h"
#include "tests/support/fake_token.h"

namespace tests {

using kms::KeyState;
using std::chrono::hours;
using std::chrono::milliseconds;

inline constexpr hours day{24};

// A caller with every right, and the shortest way to each order.
class LifecycleRig : public KeyServiceRig {
public:
    using KeyServiceRig::KeyServiceRig;

    server::Grant grant_for(server::Action action, const base::Uuid& id) {
        return grant(root_, action, id.to_string());
    }
    kms::KeyPointer create(const kms::NewKey& wanted, const kms::OrderContext& order = {}) {
        return lifecycle.create(grant(root_, kms::create_key, "*"), wanted, order).key;
    }
    kms::KeyPointer rotate(const base::Uuid& id, std::optional<std::uint32_t> if_primary = {},
                           const kms::OrderContext& order = {}) {
        return lifecycle.rotate(grant_for(kms::rotate_key, id), id, if_primary, order);
    }
    kms::KeyPointer enable(const base::Uuid& id) {
        return lifecycle.enable(grant_for(kms::enable_key, id), id);
    }
    kms::KeyPointer disable(const base::Uuid& id) {
        return lifecycle.disable(grant_for(kms::disable_key, id), id);
    }
    kms::KeyPointer schedule_deletion(const base::Uuid& id, int days = 30) {
        return lifecycle.schedule_deletion(grant_for(kms::schedule_key_deletion, id), id, days);
    }
    kms::KeyPointer cancel_deletion(const base::Uuid& id) {
        return lifecycle.cancel_deletion(grant_for(kms::cancel_key_deletion, id), id);
    }
    kms::KeyPointer mark_compromised(const base::Uuid& id) {
        return lifecycle.mark_compromised(grant_for(kms::mark_key_compromised, id), id);
    }
    kms::KeyPointer change(const base::Uuid& id, const kms::KeyChange& wanted) {
        const auto tagging = grant_for(kms::tag_key, id);
        return lifecycle.change(grant_for(kms::change_key, id), wanted.tags ? &tagging : nullptr,
                                id, wanted);
    }
    kms::KeyPointer set_alias(const std::string& alias, const base::Uuid& to,
                              const base::Uuid& from = {}) {
        const auto grant_to = grant_for(kms::change_alias, to);
        if (from.is_nil()) return lifecycle.set_alias(grant_to, nullptr, alias);
        const auto grant_from = grant_for(kms::change_alias, from);
        return lifecycle.set_alias(grant_to, &grant_from, alias);
    }
    kms::KeyDescription describe(const base::Uuid& id) {
        return lifecycle.describe(grant_for(kms::describe_key, id), id);
    }

private:
    server::Operation root_ = operation_of("root");
};

class LifecycleTest : public testing::Test {
protected:
    std::unique_ptr<LifecycleRig> start() {
        return std::make_unique<LifecycleRig>(token_, folder_.path());
    }
    static std::size_t enabled_versions(const kms::Key& key) {
        std::size_t count = 0;
        for (const auto& version : key.versions) {
            if (version.state == KeyState::enabled) ++count;
        }
        return count;
    }

    TemporaryDirectory folder_;
    FakeToken token_;
};

}  // namespace tests
