// What a process had begun and did not live to tell of. Some operations are recorded twice, as
// intent before the work and as result behind it, both with the same request id; a kill between
// the two leaves an intent that no result follows. Reading only, from the files of a log that
// nobody writes to.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/uuid.h"

namespace server {

struct UnfinishedIntent {
    base::Uuid request_id;
    std::uint64_t sequence = 0;
    std::string action;
    std::vector<std::string> resources;        // "<kind>:<id>" or "<kind>:<owner>/<id>", decided on
    std::map<std::string, std::string> facts;  // as the intent has them
    bool is_told = false;                      // an earlier start has recorded it as "unknown"
};

// The fact by which an event says that it tells what became of another request's intent.
inline constexpr std::string_view of_request_fact = "of_request";

// So much of a log is looked through from its end: about 100,000 records, and some 100 ms of the
// start, however long the log is. What was under way when the process ended has hardly begun
// earlier, a backup of a large database under load excepted: its intent stands in the log, and no
// "unknown" follows it.
inline constexpr std::uint64_t intent_search_bytes = 64UL * 1024 * 1024;

// The intents among the last `search_bytes` of the log, over its segments, that are open, in their
// order: their request has no other record behind them, or only the one that says that the outcome
// is unknown, and no event names it in `of_request`. Of several intents of one request the last
// counts: what the others announced was done when it was written. A compressed segment is read
// whole. Throws unavailable when files can't be read, integrity_failure when a compressed one is
// damaged.
std::vector<UnfinishedIntent> unfinished_intents(const std::filesystem::path& directory,
                                                 std::uint64_t search_bytes = intent_search_bytes);

}  // namespace server
