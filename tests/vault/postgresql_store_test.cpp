// The vault's store on PostgreSQL.
#include "tests/support/postgresql.h"
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

}  // namespace
}  // namespace tests
