// A line of the audit log, as a file that somebody has had his hands on could hold it.
#include "server/audit_record.h"
#include "tests/fuzz/only.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view line = fuzz::text_of(data, size);
    fuzz::allow(base::ErrorCode::invalid_argument, [&] {
        fuzz::require(line.find(std::to_string(server::sequence_of(line))) != line.npos);
    });
    server::MerkleHasher hasher;
    const std::string hash = server::line_hash(line, hasher);
    fuzz::require(hash.size() == 64 && !server::follows(line, hash));  // no line holds its own hash
    std::string next;
    server::append_audit_line(next, 7, "\"time\":\"\"", hash);
    fuzz::require(server::sequence_of(next) == 7 && server::follows(next, hash));
    return 0;
}
