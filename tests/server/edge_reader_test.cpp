// Where requests begin and end in a stream of bytes, however the bytes come.
#include "server/edge_reader.h"

#include <gtest/gtest.h>

#include "tests/server/edge_reader_run.h"
#include "tests/support/expect_error.h"

namespace tests {
namespace {

const std::string three_requests =
    "POST /a?x=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello"
    "GET /b HTTP/1.1\r\nHost: h\r\n\r\n"
    "PUT /c HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}";

TEST(EdgeReader, RequestsAreTheSameHoweverTheBytesAreCut) {
    const ReaderRun whole = run_reader(three_requests, three_requests.size());
    ASSERT_EQ(whole.requests.size(), 3U);
    EXPECT_EQ(whole.requests[0], "POST /a?x=1 5 hello");
    EXPECT_EQ(whole.requests[1], "GET /b 0 ");
    EXPECT_EQ(whole.requests[2], "PUT /c 2 {}");
    EXPECT_EQ(whole.error, "");
    for (std::size_t piece = 1; piece < 60; ++piece) {
        EXPECT_EQ(run_reader(three_requests, piece), whole) << piece;
    }
}

TEST(EdgeReader, WhatFollowsAFaultIsNeverRead) {
    const ReaderRun run =
        run_reader("GET /a HTTP/1.1\r\nHost: h\r\nContent-Length: 30\r\n\r\n" + three_requests, 7);
    EXPECT_TRUE(run.requests.empty());
    EXPECT_EQ(run.error, "invalid_argument");
}

TEST(EdgeReader, AHeadIsRefusedAtTheLimitAndNotAByteBefore) {
    const std::string begin = "GET / HTTP/1.1\r\nHost: h\r\nX-Fill: ";
    const std::string end = "\r\n\r\n";
    const std::size_t fill = reader_head_limit - begin.size() - end.size();
    EXPECT_EQ(run_reader(begin + std::string(fill, 'x') + end, 1000).requests.size(), 1U);
    for (const std::size_t piece : {1UL, 1000UL, 100'000UL}) {
        const ReaderRun run = run_reader(begin + std::string(fill + 1, 'x') + end, piece);
        EXPECT_TRUE(run.requests.empty()) << piece;
        EXPECT_EQ(run.error, "header_fields_too_large") << piece;
    }
}

TEST(EdgeReader, AnAnnouncedBodyTakesMemoryOnlyAsItArrives) {
    server::RequestReader reader(reader_head_limit);
    reader.begin();
    const std::string head = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1073741824\r\n\r\n";
    const auto room = reader.room();
    std::copy(head.begin(), head.end(), room.begin());
    reader.filled(head.size());
    ASSERT_TRUE(reader.read_head());
    reader.begin_body();
    EXPECT_LE(reader.room().size(), 16UL * 1024);
}

}  // namespace
}  // namespace tests
