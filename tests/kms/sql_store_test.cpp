#include "kms/sql_store.h"

#include "tests/kms/store_contract.h"
#include "tests/support/sql_store.h"
#include "tests/support/temporary_directory.h"

namespace tests {
namespace {

struct SqliteFactory {
    std::unique_ptr<kms::Store> open() const {
        return std::make_unique<OwnSqlite<kms::SqlStore>>(directory / "kms.db");
    }
    TemporaryDirectory directory;
};

INSTANTIATE_TYPED_TEST_SUITE_P(Sqlite, StoreContract, SqliteFactory);

}  // namespace
}  // namespace tests
