// The vault's store on PostgreSQL.
#include "tests/support/postgresql.h"
#include "tests/vault/attributes_contract.h"
#include "tests/vault/rewrap_statement_contract.h"
#include "tests/vault/rewrap_store_contract.h"
#include "tests/vault/store_contract.h"
#include "tests/vault/store_destruction_contract.h"
#include "tests/vault/store_list_contract.h"
#include "vault/sql_store.h"

namespace tests {
namespace {

struct PostgresqlBackend {
    static const std::string& missing() { return postgresql_server().missing(); }
    std::unique_ptr<vault::Store> open() const {
        return std::make_unique<OwnPostgresql<vault::SqlStore>>(schema);
    }
    void edit(const std::string& sql) const { schema.sql(sql); }
    PostgresqlSchema schema;
};

INSTANTIATE_TYPED_TEST_SUITE_P(Postgresql, StoreContract, PostgresqlBackend);
INSTANTIATE_TYPED_TEST_SUITE_P(Postgresql, AttributesContract, PostgresqlBackend);
INSTANTIATE_TYPED_TEST_SUITE_P(Postgresql, StoreListContract, PostgresqlBackend);
INSTANTIATE_TYPED_TEST_SUITE_P(Postgresql, StoreDestructionContract, PostgresqlBackend);

struct PostgresqlRewrapBackend {
    static const std::string& missing() { return postgresql_server().missing(); }
    std::unique_ptr<server::Database> open() const { return schema.open(); }
    PostgresqlSchema schema;
};

INSTANTIATE_TYPED_TEST_SUITE_P(Postgresql, RewrapStoreContract, PostgresqlRewrapBackend);
INSTANTIATE_TYPED_TEST_SUITE_P(Postgresql, RewrapStatementContract, PostgresqlRewrapBackend);

vault::NewVersion version_of(const std::string& name, std::uint32_t key_version) {
    vault::NewVersion added =
        new_version({"acme", name}, 1, sealed_text({master_key, key_version}, name));
    added.version.key_id = master_key;
    added.version.key_version = key_version;
    return added;
}

// Two nodes move, two store under the old version meanwhile, until the statement.
class RewrapNodes : public testing::Test {
protected:
    void SetUp() override { SKIP_WITHOUT_POSTGRESQL(); }

    // What a busy machine has no time for is tried again: leases that it held are over then.
    template <typename Work>
    void patiently(Work work) {
        try {
            work();
        } catch (const base::Error& error) {
            EXPECT_EQ(error.code(), base::ErrorCode::unavailable) << error.what();
            seconds_ += vault::rewrap_lease.count();
        }
    }
    void move(RewrapNode& node) {
        const base::Time now = at(seconds_);
        auto task = node.rewraps.take(now);
        if (std::holds_alternative<vault::NothingToRewrap>(task)) over_ = true;
        const auto* lease = std::get_if<vault::RewrapLease>(&task);
        if (lease == nullptr) return;
        if (!lease->piece) {
            node.rewraps.complete(*lease, now);
            return;
        }
        std::vector<vault::RewrapResult> results;
        for (const auto& row : node.rewraps.load(*lease->piece)) {
            results.push_back(
                {row.place, row.sealed, moved_text(row.sealed, lease->target), lease->target, {}});
        }
        node.rewraps.settle(*lease, std::move(results), now);
    }
    // False when the store takes nothing under the old version any more.
    bool store(RewrapNode& node, const std::string& name) {
        if (!node.store.put(version_of(name, 1), {})) return false;
        ++stored_;
        return true;
    }

    PostgresqlSchema schema_;
    std::atomic<bool> over_ = false;
    std::atomic<int> stored_ = 0;
    std::atomic<std::int64_t> seconds_ = 0;
};

TEST_F(RewrapNodes, OfWhatIsStoredMeanwhileNothingIsLostCountedTwiceOrLeftBehindTheStatement) {
    RewrapNode first(schema_.open());
    RewrapNode second(schema_.open());
    const auto job = first.rewraps.add({{master_key, 2}, 0, "operator", at(0)});
    ASSERT_TRUE(job);
    std::vector<std::thread> threads;
    for (RewrapNode* node : {&first, &second}) {
        threads.emplace_back([&, node] {
            while (stored_ < 20) std::this_thread::yield();
            while (!over_) patiently([&] { move(*node); });
        });
        threads.emplace_back([&, node] {
            const std::string prefix = node == &first ? "first-" : "second-";
            bool taken = true;
            // Not for ever: a job has no end while what it has to move comes as fast as it moves.
            for (int i = 0; taken && i < 100; ++i) {
                patiently([&] { taken = store(*node, prefix + std::to_string(i)); });
            }
        });
    }
    for (auto& thread : threads) thread.join();
    const auto done = *first.rewraps.find(job->id);
    EXPECT_EQ(done.state, vault::RewrapState::completed);
    EXPECT_TRUE(done.statement->is_safe());
    EXPECT_EQ(std::to_string(done.done), schema_.sql("SELECT COUNT(*) FROM versions"));
    EXPECT_EQ(schema_.sql("SELECT COUNT(*) FROM versions WHERE key_version < 2"), "0");
    EXPECT_EQ(schema_.sql("SELECT COUNT(*) FROM versions WHERE sealed LIKE '%moved moved%'"), "0");
    EXPECT_FALSE(store(first, "late"));
}

}  // namespace
}  // namespace tests
