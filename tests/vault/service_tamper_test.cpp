// A hand in the database, and what the service makes of its rows.
#include "tests/support/expect_error.h"
#include "tests/vault/service_steps.h"

namespace tests {
namespace {

TEST_F(CredentialServiceTest, TamperedRowsAreAnIntegrityFailure) {
    const CredentialId db{"globex", "db"};
    const std::string all =
        "SELECT sealed FROM versions v JOIN credentials c ON c.id = v.credential WHERE ";
    for (const std::string& change : {
             "sealed = (" + all + "c.owner = 'globex')",   // of another owner
             "sealed = (" + all + "c.name = 'facebook')",  // of another name
             "sealed = (" + all +
                 "c.name = 'instagram' AND v.version = 1)",  // an older one put back
             std::string("sealed = substr(sealed, 1, length(sealed) - 9) || 'AAAAAA\"}'"),
             std::string("sealed = replace(sealed, '\"__enc\":3', '\"__enc\":1')"),
             std::string("sealed = replace(sealed, '\"__enc\":3', '\"__enc\":2')"),
             std::string("sealed = ''"),
             std::string("sealed = '{}'"),
             std::string("sealed = '{\"token\":\"planted\"}'"),
             std::string("key_version = 9"),
             std::string("key_id = '0f0e0d0c-0b0a-4908-8706-050403020100'"),
         }) {
        World fresh;
        Steps acme(fresh, "acme");
        Steps(fresh, "globex").store(db, R"({"token":"of globex"})");
        acme.store(facebook_, R"({"token":"facebook"})");
        acme.store(instagram_, R"({"token":"old"})");
        acme.store(instagram_, R"({"token":"new"})");
        const int changed =
            fresh.edit("UPDATE versions SET " + change +
                       " WHERE version = 2 AND credential = (SELECT id FROM credentials "
                       "WHERE owner = 'acme' AND name = 'instagram')");
        EXPECT_EQ(changed, 1) << change;
        SCOPED_TRACE(change);
        EXPECT_ERROR(integrity_failure, acme.reveal(instagram_));
        EXPECT_EQ(acme.reveal(facebook_), R"({"token":"facebook"})")
            << "the others are not touched";
        EXPECT_ERROR(integrity_failure, acme.reveal(instagram_, 1));
        // That was its metadata and tags, which only the current version proves.
        vault::StoreRequest request;
        request.secret = base::SecretBytes(base::as_bytes("{}"));
        request.metadata = "{}";
        request.tags = vault::Tags{};
        request.may_begin_anew = [] { return true; };
        auto operation = fresh.operation();
        fresh.service->store(acme.grant(operation, vault::store_credential, instagram_), request,
                             "");
        EXPECT_EQ(acme.reveal(instagram_, 1), R"({"token":"old"})");
    }
}

TEST_F(CredentialServiceTest, ARowMovedToAnotherOwnerDoesNotOpen) {
    acme_.store(instagram_, R"({"token":"of acme"})");
    world_.edit("UPDATE credentials SET owner = 'globex'");
    EXPECT_ERROR(integrity_failure, globex_.reveal({"globex", "instagram"}));
}

TEST_F(CredentialServiceTest, RevivedErasedRowsDoNotServeUnderTheirNewNumber) {
    acme_.store(instagram_, R"({"token":"old"})");
    const auto old = world_.store->find_version(instagram_, std::nullopt)->sealed;
    acme_.destroy(instagram_);
    acme_.store(instagram_, R"({"token":"new"})");
    world_.edit("UPDATE versions SET sealed = '" + old + "' WHERE version = 2");
    EXPECT_ERROR(integrity_failure, acme_.reveal(instagram_));
}

}  // namespace
}  // namespace tests
