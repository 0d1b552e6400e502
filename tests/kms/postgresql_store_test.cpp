// The key store on PostgreSQL, and what several nodes on one store may rely on.
#include "kms/sql_store.h"
#include "tests/kms/store_lock_contract.h"
#include "tests/support/postgresql.h"

namespace tests {
namespace {

struct PostgresqlFactory {
    static const std::string& missing() { return postgresql_server().missing(); }
    std::unique_ptr<kms::Store> open() const {
        return std::make_unique<OwnPostgresql<kms::SqlStore>>(schema);
    }
    PostgresqlSchema schema;
};

INSTANTIATE_TYPED_TEST_SUITE_P(Postgresql, StoreContract, PostgresqlFactory);
INSTANTIATE_TYPED_TEST_SUITE_P(Postgresql, StoreLockContract, PostgresqlFactory);

}  // namespace
}  // namespace tests
