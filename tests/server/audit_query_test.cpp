#include "server/audit_query.h"

#include <gtest/gtest.h>

#include <fstream>

#include "server/audit_report.h"
#include "server/authorizer.h"
#include "server/policy.h"
#include "tests/server/audit_house.h"
#include "tests/support/expect_error.h"

namespace {

using server::AuditFilter;
using server::AuditRow;
using tests::operation_of;

class AuditQuery : public tests::AuditLogTest {
protected:
    void record(std::string_view caller, std::string_view action, const std::string& key,
                const server::Outcome& outcome) {
        auto operation = operation_of(caller, {action});
        server::Resource resource;
        resource.kind = "key";
        resource.id = key;
        static_cast<void>(authorizer_.would_allow(operation, {action}, resource));
        open()->append_and_wait(operation, outcome);
    }
    std::vector<std::uint64_t> found(const AuditFilter& filter) {
        std::vector<std::uint64_t> sequences;
        server::read_audit_log(
            folder_ / "audit", filter,
            [&](const AuditRow& row, std::string_view line) {
                EXPECT_EQ(server::sequence_of(line), row.sequence);
                sequences.push_back(row.sequence);
                return true;
            },
            unreadable_);
        return sequences;
    }

    const server::Authorizer authorizer_{server::parse_policy(
        R"({"version":1,"roles":{"app":[{"id":"r1","effect":"allow","actions":["*"],"resources":["*"]}]},
            "bindings":[{"caller":"spiffe://strongroom/app","roles":["app"]}]})",
        {})};
    std::uint64_t unreadable_ = 0;
};

TEST_F(AuditQuery, RowSaysWhatTheRecordSays) {
    auto operation = operation_of("spiffe://strongroom/app");
    operation.set_traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    server::Resource credential{"credential", "token", "acme", {}, {}};
    authorizer_.authorize(operation, {"unwrap_data_key"}, credential);
    operation.add_item({"k-1/3", "ok"});
    operation.add_item({"k-1/3", "integrity_failure"});
    const std::string other = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    server::ItemOutcome traced{"k-1/3", "ok"};
    for (const std::string& trace : {other, operation.traceparent(), other}) {
        traced.traceparent = trace;
        operation.add_item(traced);
    }
    operation.set_fact("version", "3");
    open()->append_and_wait(operation, {"failed", "integrity_failure", 422});
    const auto row = server::read_audit_row(tests::lines_of(file()).front());
    ASSERT_TRUE(row);
    EXPECT_EQ(row->sequence, 1U);
    EXPECT_EQ(row->daemon, "kmsd");
    EXPECT_EQ(row->node, "node-1");
    EXPECT_EQ(row->request_id, operation.request_id().to_string());
    EXPECT_EQ(row->traceparent, operation.traceparent() + " " + other);
    EXPECT_EQ(row->caller, "spiffe://strongroom/app");
    EXPECT_EQ(row->method, "client_certificate");
    EXPECT_EQ(row->address, "127.0.0.1");
    EXPECT_EQ(row->action, "unwrap_data_key");
    EXPECT_EQ(row->resources, (std::vector<std::string>{"credential:acme/token", "k-1/3"}));
    EXPECT_EQ(row->rules, std::vector<std::string>{"r1"});
    EXPECT_FALSE(row->refused);
    EXPECT_EQ(row->facts, "version=3");
    EXPECT_EQ(row->outcome, "failed");
    EXPECT_EQ(row->error, "integrity_failure");
    EXPECT_EQ(row->status, 422);
}

TEST_F(AuditQuery, EachFilterFindsItsRecords) {
    record("spiffe://strongroom/app", "unwrap_data_key", "k-1", {"ok", "", 200});
    clock_.advance(std::chrono::hours(1));
    record("spiffe://strongroom/app", "create_key", "k-2", {"ok", "", 200});
    clock_.advance(std::chrono::hours(1));
    record("spiffe://strongroom/foe", "unwrap_data_key", "k-1",
           {"denied", "permission_denied", 403});
    using Found = std::vector<std::uint64_t>;
    EXPECT_EQ(found({}), (Found{1, 2, 3}));
    AuditFilter filter;
    filter.caller = "*/foe";
    EXPECT_EQ(found(filter), Found{3});
    filter = {};
    filter.key = "k-1";
    EXPECT_EQ(found(filter), (Found{1, 3}));
    filter.key = "key:k-2";
    EXPECT_EQ(found(filter), Found{2});
    filter.key = "k";
    EXPECT_EQ(found(filter), Found{});
    filter = {};
    filter.action = "create_*";
    EXPECT_EQ(found(filter), Found{2});
    filter = {};
    filter.outcome = "permission_denied";
    EXPECT_EQ(found(filter), Found{3});
    filter.outcome = "ok";
    EXPECT_EQ(found(filter), (Found{1, 2}));
    filter = {};
    filter.from = clock_.now() - std::chrono::hours(1);
    EXPECT_EQ(found(filter), (Found{2, 3}));
    filter.before = clock_.now();
    EXPECT_EQ(found(filter), Found{2});
}

TEST_F(AuditQuery, LinesThatAreNoRecordsAreCounted) {
    record("a", "create_key", "k", {"ok", "", 200});
    std::ofstream(file(), std::ios::app) << "{}\nno json\n{\"sequence\":0}\n";
    EXPECT_EQ(found({}).size(), 1U);
    EXPECT_EQ(unreadable_, 3U);
}

TEST_F(AuditQuery, CsvIsQuotedAndHasNoFormulas) {
    AuditRow row;
    row.sequence = 7;
    row.time = "2027-01-15T08:00:00.000Z";
    row.caller = "=cmd|' /C calc'!A0";
    row.action = "a \"quoted\", word";
    row.resources = {"key:1", "key:2"};
    row.facts = "+1";
    row.status = 200;
    EXPECT_EQ(server::audit_csv_line(row),
              "7,2027-01-15T08:00:00.000Z,,,,,'=cmd|' /C calc'!A0,,,\"a \"\"quoted\"\", "
              "word\",key:1 key:2,,,,200,0,'+1\r\n");
    const std::string heading = server::audit_csv_heading();
    const std::string plain = server::audit_csv_line(AuditRow());
    EXPECT_EQ(std::count(heading.begin(), heading.end(), ','),
              std::count(plain.begin(), plain.end(), ','));
}

AuditRow row_at(const std::string& time, std::string caller, std::string error = "") {
    AuditRow row;
    row.sequence = 1;
    row.time = time;
    row.caller = std::move(caller);
    row.action = "unwrap_data_key";
    row.resources = {"key:k-1"};
    row.outcome = error.empty() ? "ok" : error == "unavailable" ? "failed" : "denied";
    row.error = std::move(error);
    return row;
}

TEST(AuditReport, CountsByCallerKeyAndOutcome) {
    server::AuditReport report;
    for (int i = 0; i < 3; ++i) report.add(row_at("2027-01-15T08:00:00.000Z", "app"));
    report.add(row_at("2027-01-15T09:00:00.000Z", "foe", "permission_denied"));
    report.add(row_at("2027-01-15T09:00:00.000Z", "app", "unavailable"));
    const std::string page = report.page({});
    EXPECT_NE(page.find("<td>app</td><td class=\"n\">4</td><td class=\"n\">0</td><td "
                        "class=\"n\">1</td>"),
              std::string::npos);
    EXPECT_NE(page.find("<td>foe</td><td class=\"n\">1</td><td class=\"n\">1</td>"),
              std::string::npos);
    EXPECT_NE(page.find("<td>key:k-<wbr>1</td><td class=\"n\">5</td>"), std::string::npos);
    EXPECT_NE(page.find("Not verified"), std::string::npos);
    EXPECT_NE(page.find("2027-01-15 08:00: 3, of which 0 refused or failed"), std::string::npos);
}

TEST(AuditReport, RefusalsAreWhatWasDeniedOrOverABudget) {
    server::AuditReport report;
    AuditRow over = row_at("2027-01-15T08:00:00.000Z", "hasty", "resource_exhausted");
    over.outcome = "failed";
    report.add(over);
    report.add(row_at("2027-01-15T09:00:00.000Z", "stopped", "caller_suspended"));
    report.add(row_at("2027-01-15T09:00:00.000Z", "unlucky", "unavailable"));
    const std::string page = report.page({});
    const std::string refusals = page.substr(page.find("<h2>Refusals</h2>"));
    EXPECT_NE(refusals.find("hasty"), std::string::npos);
    EXPECT_NE(refusals.find("caller_<wbr>suspended"), std::string::npos) << refusals;
    EXPECT_EQ(refusals.find("unlucky"), std::string::npos);
    EXPECT_NE(page.find("<td>stopped</td><td class=\"n\">1</td><td class=\"n\">1</td><td "
                        "class=\"n\">0</td>"),
              std::string::npos);
}

TEST(AuditReport, IntentIsCountedWithItsResult) {
    server::AuditReport report;
    AuditRow row = row_at("2027-01-15T08:00:00.000Z", "app");
    row.outcome = "intent";
    report.add(row);
    row.outcome = "ok";
    report.add(row);
    EXPECT_NE(report.page({}).find("<td>app</td><td class=\"n\">1</td>"), std::string::npos);
}

std::size_t bars_of(const std::string& page) {
    std::size_t bars = 0;
    for (std::size_t at = 0; (at = page.find("<g><title>", at)) != std::string::npos; ++at) ++bars;
    return bars;
}

TEST(AuditReport, TimeWithoutOperationsIsOnTheAxisToo) {
    server::AuditReport report;
    EXPECT_NE(report.page({}).find("There are no operations"), std::string::npos);
    report.add(row_at("2027-01-15T22:00:00.000Z", "app"));
    EXPECT_EQ(bars_of(report.page({})), 1U);
    report.add(row_at("2027-01-16T02:00:00.000Z", "app"));
    EXPECT_EQ(bars_of(report.page({})), 5U);
    EXPECT_NE(report.page({}).find("2027-01-16 00:00: 0, of which"), std::string::npos);
    report.add(row_at("2027-02-16T02:00:00.000Z", "app"));
    EXPECT_EQ(bars_of(report.page({})), 33U) << "by the day";
    report.add(row_at("2029-01-01T02:00:00.000Z", "app"));
    EXPECT_EQ(bars_of(report.page({})), 25U) << "by the month";
    EXPECT_NE(report.page({}).find("2028-01: 0, of which"), std::string::npos);
    report.add(row_at("2099-01-01T02:00:00.000Z", "app"));
    EXPECT_EQ(bars_of(report.page({})), 73U) << "by the year";
    report.add(row_at("no time at all", "app"));
    EXPECT_EQ(bars_of(report.page({})), 73U);
}

TEST(AuditReport, NothingTurnsTheDirectionOfTheText) {
    server::AuditReport report;
    report.add(row_at("2027-01-15T08:00:00.000Z", "\u202egnp.exe\u2066x\u2019"));
    const std::string page = report.page({});
    EXPECT_NE(page.find("\ufffdgnp.exe\ufffdx\u2019"), std::string::npos);
}

TEST(AuditReport, NothingFromTheLogBecomesMarkupAndNothingIsFetched) {
    server::AuditReport report;
    const std::string evil = "<script src=\"https://evil.example/x.js\">'&";
    AuditRow row = row_at("2027-01-15T08:00:00.000Z", evil, "permission_denied");
    row.action = row.time = row.address = evil;
    row.resources = row.rules = {evil};
    report.add(row);
    server::AuditReport::Frame frame;
    frame.title = frame.period = frame.made_at = evil;
    frame.finding.emplace();
    frame.finding->reason = frame.finding->last.origin = evil;
    const std::string page = report.page(frame);
    EXPECT_EQ(page.find("<script"), std::string::npos);
    EXPECT_EQ(page.find("src="), page.find("src=&quot;"));
    EXPECT_EQ(page.find("href"), std::string::npos);
    EXPECT_EQ(page.find("url("), std::string::npos);
    EXPECT_NE(page.find("&lt;script src=&quot;https://evil.example/x.js&quot;&gt;&#39;&amp;"),
              std::string::npos);
}

TEST(AuditReport, ShowsTheVerdict) {
    server::AuditReport::Frame frame;
    frame.finding.emplace();
    EXPECT_NE(server::AuditReport().page(frame).find("complete and unchanged"), std::string::npos);
    frame.finding->verdict = server::AuditVerdict::tampered;
    frame.finding->first_bad = 4711;
    const std::string page = server::AuditReport().page(frame);
    EXPECT_NE(page.find("tampered with"), std::string::npos);
    EXPECT_NE(page.find("4711"), std::string::npos);
}

TEST(AuditReport, HourOfUnusualVolumeStandsOut) {
    std::map<std::string, std::uint64_t> hours;
    for (int i = 0; i < 10; ++i) hours["2027-01-15T0" + std::to_string(i)] = 40;
    EXPECT_TRUE(server::unusual_hours(hours).empty());
    hours["2027-01-15T05"] = 121;
    EXPECT_EQ(server::unusual_hours(hours), std::vector<std::string>{"2027-01-15T05"});
    hours["2027-01-15T05"] = 120;
    EXPECT_TRUE(server::unusual_hours(hours).empty());
    EXPECT_TRUE(server::unusual_hours({}).empty());
}

}  // namespace
