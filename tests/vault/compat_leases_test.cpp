// Who refreshes which token: the lease in the store, as several nodes see it.
#include <gtest/gtest.h>

#include "tests/support/expect_error.h"
#include "tests/support/fake_clock.h"
#include "tests/support/sql_store.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/twice_database.h"
#include "vault/compat/refresh_leases.h"

namespace tests {
namespace {

using namespace std::chrono_literals;
using vault::compat::RefreshLeases;
using Taken = RefreshLeases::Taken;

class RefreshLeasesTest : public testing::Test {
protected:
    Taken take(const std::string& holder, std::uint64_t version = 1,
               const vault::CredentialId& id = {"broker", "shop"}) {
        return leases_.take(id, version, holder, clock_.now(), clock_.now() + 10s);
    }
    const vault::CredentialId id_{"broker", "shop"};
    TemporaryDirectory directory_;
    FakeClock clock_;
    std::unique_ptr<server::Database> sqlite_ = open_sqlite(directory_ / "leases.db");
    TwiceDatabase database_{*sqlite_};  // as a database that runs a work again
    RefreshLeases leases_{database_};
};

TEST_F(RefreshLeasesTest, OneHasItAtATime) {
    EXPECT_FALSE(leases_.is_held(id_, clock_.now()));
    EXPECT_EQ(take("a"), Taken::yes);
    EXPECT_EQ(take("b"), Taken::held);
    EXPECT_TRUE(leases_.is_held(id_, clock_.now()));
    EXPECT_EQ(take("b", 1, {"broker", "other"}), Taken::yes);
    leases_.release(id_, "b");  // not his
    EXPECT_EQ(take("b"), Taken::held);
    leases_.release(id_, "a");
    EXPECT_FALSE(leases_.is_held(id_, clock_.now()));
    EXPECT_EQ(take("b"), Taken::yes);
}

TEST_F(RefreshLeasesTest, WhoDiedWithItHoldsItForItsTimeOnly) {
    take("a");
    clock_.advance(9999ms);
    EXPECT_EQ(take("b"), Taken::held);
    clock_.advance(1ms);
    EXPECT_EQ(take("b"), Taken::yes);
    leases_.pause(id_, "a", true, clock_.now() + 30s);  // too late: it is another's
    EXPECT_EQ(take("c"), Taken::held);
}

TEST_F(RefreshLeasesTest, AFailureIsAPauseForThatVersion) {
    take("a");
    leases_.pause(id_, "a", false, clock_.now() + 30s);
    leases_.release(id_, "a");  // leaves the pause
    EXPECT_EQ(take("b"), Taken::after_failure);
    EXPECT_FALSE(leases_.is_held(id_, clock_.now()));
    clock_.advance(30s);
    EXPECT_EQ(take("b"), Taken::yes);
    leases_.pause(id_, "b", true, clock_.now() + 30s);
    EXPECT_EQ(take("c"), Taken::after_refusal);
    EXPECT_EQ(take("c", 2), Taken::yes);
}

TEST_F(RefreshLeasesTest, WithoutTheStoreNobodyHasIt) {
    sqlite_->write([](server::Session& sql) { sql << "DROP TABLE token_refreshes"; });
    const auto trouble = [](auto work) {
        try {
            work();
            ADD_FAILURE() << "nothing was thrown";
        } catch (const base::Error& error) {
            EXPECT_TRUE(error.code() == base::ErrorCode::unavailable ||
                        error.code() == base::ErrorCode::internal)
                << error.what();
        }
    };
    trouble([&] { take("a"); });
    trouble([&] { leases_.is_held(id_, clock_.now()); });
    trouble([&] { leases_.release(id_, "a"); });
    trouble([&] { leases_.pause(id_, "a", true, clock_.now()); });
}

}  // namespace
}  // namespace tests
