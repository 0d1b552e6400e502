// The vault's store on PostgreSQL.
#include "tests/support/postgresql.h"
#include "tests/vault/rewrap_store_contract.h"
#include "tests/vault/store_contract.h"
#include "vault/sql_store.h"

namespace tests {
namespace {

struct PostgresqlBackend {
    static const std::string& missing() { return postgresql_server().missing(); }
    std::unique_ptr<vault::Store> open() const {
        return std::make_unique<OwnPostgresql<vault::SqlStore>>(schema);
    }
    PostgresqlSchema schema;
};

INSTANTIATE_TYPED_TEST_SUITE_P(Postgresql, StoreContract, PostgresqlBackend);

struct PostgresqlRewrapBackend {
    static const std::string& missing() { return postgresql_server().missing(); }
    std::unique_ptr<server::Database> open() const { return schema.open(); }
    PostgresqlSchema schema;
};

INSTANTIATE_TYPED_TEST_SUITE_P(Postgresql, RewrapStoreContract, PostgresqlRewrapBackend);

vault::NewVersion version_of(const std::string& name, std::uint32_t key_version) {
    vault::NewVersion added = new_version({"acme", name}, 1, name);
    added.version.key_id = master_key;
    added.version.key_version = key_version;
    return added;
}

// Two nodes move, two store under the old version meanwhile, until the statement.
TEST(RewrapNodes, OfWhatIsStoredMeanwhileNothingIsLostCountedTwiceOrLeftBehindTheStatement) {
    SKIP_WITHOUT_POSTGRESQL();
    const PostgresqlSchema schema;
    RewrapNode first(schema.open());
    RewrapNode second(schema.open());
    vault::SqlStore& store = first.store;
    for (int i = 0; i < 30; ++i) ASSERT_TRUE(store.put(version_of("c" + std::to_string(i), 1), {}));
    vault::SqlRewrapStore& jobs = first.rewraps;
    const auto job = jobs.add({{master_key, 2}, 5000, "operator", at(0)});
    ASSERT_TRUE(job);
    std::atomic<bool> over = false;
    std::atomic<int> stored = 0;
    std::vector<std::thread> threads;
    for (RewrapNode* node : {&first, &second}) {
        threads.emplace_back([&, node] {
            vault::SqlRewrapStore& rewraps = node->rewraps;
            for (std::int64_t ticks = 0; !over; ++ticks) {
                auto task = rewraps.take(at(ticks));
                if (std::holds_alternative<vault::NothingToRewrap>(task)) over = true;
                const auto* lease = std::get_if<vault::RewrapLease>(&task);
                if (lease == nullptr) continue;
                if (!lease->piece) {
                    rewraps.complete(*lease, at(ticks));
                    continue;
                }
                std::vector<vault::RewrapResult> results;
                for (const auto& row : rewraps.load(*lease->piece)) {
                    results.push_back(
                        {row.place, row.sealed, "moved " + row.sealed, lease->target, {}});
                }
                rewraps.settle(*lease, std::move(results), at(ticks));
            }
        });
        threads.emplace_back([&, node] {
            vault::SqlStore& versions = node->store;
            for (int i = 0; !over; ++i) {
                const std::string name =
                    (node == &first ? "first-" : "second-") + std::to_string(i);
                if (!versions.put(version_of(name, 1), {})) break;  // the statement was made
                ++stored;
            }
        });
    }
    for (auto& thread : threads) thread.join();
    const auto done = *jobs.find(job->id);
    EXPECT_EQ(done.state, vault::RewrapState::completed);
    EXPECT_TRUE(done.statement->is_safe());
    EXPECT_GT(stored, 0);
    EXPECT_EQ(done.done, 30U + static_cast<unsigned>(stored));
    EXPECT_EQ(schema.sql("SELECT COUNT(*) FROM versions WHERE key_version < 2"), "0");
    EXPECT_EQ(schema.sql("SELECT COUNT(*) FROM versions WHERE sealed LIKE 'moved moved%'"), "0");
    EXPECT_FALSE(store.put(version_of("late", 1), {}));
}

}  // namespace
}  // namespace tests
