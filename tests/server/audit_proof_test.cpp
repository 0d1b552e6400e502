#include "server/audit_proof.h"

#include <gtest/gtest.h>

#include "tests/support/expect_error.h"

namespace {

TEST(AuditProof, ItsTextIsReadBackInOneSpellingOnly) {
    server::RecordEvidence evidence{R"({"sequence":8})", 7, {}, "a note\n"};
    evidence.path.emplace_back().fill(0xAB);
    const std::string text = server::evidence_text(evidence);
    const auto read = server::parse_evidence(text);
    EXPECT_EQ(server::evidence_text(read), text);
    EXPECT_EQ(read.index, 7U);
    EXPECT_EQ(read.record, evidence.record);
    const std::size_t place = text.find("index 7") + std::string_view("index ").size();
    for (const char* other : {"007", "+7", "-7", " 7", "7 ", "", "x", "99999999999999999999"}) {
        std::string changed = text;
        changed.replace(place, 1, other);
        EXPECT_ERROR(invalid_argument, server::parse_evidence(changed));
    }
}

}  // namespace
