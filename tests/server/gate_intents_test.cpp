// What is changed and stays is said in the audit log before: the gate's part of it.
#include "tests/server/gate_house.h"

namespace tests {
namespace {

TEST_F(GateTest, AnIntentIsInTheLogBeforeTheChangeIsMade) {
    const Response answer = ask(request(Method::PUT, "/change/said"));
    EXPECT_EQ(answer.status, 200U);
    const std::string request_id = R"("request_id":")" + header_of(answer, "X-Request-Id") + "\"";
    const std::size_t at = records_at_change_.find(request_id);
    ASSERT_NE(at, std::string::npos) << records_at_change_;
    EXPECT_NE(records_at_change_.find(R"("outcome":"intent")", at), std::string::npos);
    EXPECT_EQ(records_at_change_.find(R"("outcome":"ok")"), std::string::npos);
    EXPECT_TRUE(recorded(R"("outcome":"ok")"));
}

TEST_F(GateTest, WithoutItsIntentNothingIsChanged) {
    ASSERT_EQ(ask(request(Method::POST, "/things/a")).status, 200U);
    const FullDisk disk = full_disk();
    // The log does not know yet that it can't be written: the intent finds it out.
    const Response answer = ask(request(Method::PUT, "/change/said"));
    disk.make_room();
    EXPECT_EQ(answer.status, 503U);
    EXPECT_EQ(changes_, 0);
    EXPECT_TRUE(log_heals());
    EXPECT_EQ(ask(request(Method::PUT, "/change/said")).status, 200U);
    EXPECT_EQ(changes_, 1);
}

TEST_F(GateTest, AChangeThatWasNotSaidBeforeIsOurMistake) {
    const Response answer = ask(request(Method::PUT, "/change/silently"));
    EXPECT_EQ(answer.status, 500U);
    EXPECT_TRUE(recorded("internal"));
    EXPECT_EQ(ask(request(Method::PUT, "/change/again")).status, 200U)
        << "an answer of before changes nothing";
}

}  // namespace
}  // namespace tests
