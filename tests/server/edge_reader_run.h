// Runs the edge's reader over bytes that come in pieces, as the edge does: for tests and fuzzers.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "server/edge_reader.h"

namespace tests {

inline constexpr std::size_t reader_head_limit = 16UL * 1024;
inline constexpr std::size_t reader_body_limit = 64UL * 1024;

// What came of it; the same for the same bytes, however they are cut.
struct ReaderRun {
    std::vector<std::string> requests;  // "POST /path?query length body"
    std::string error;                  // the word of the refusal that ended it; empty: none
    bool operator==(const ReaderRun&) const = default;
};

inline ReaderRun run_reader(std::string_view bytes, std::size_t piece) {
    ReaderRun run;
    server::RequestReader reader(reader_head_limit);
    const auto feed = [&] {
        const auto room = reader.room();
        const std::size_t count = std::min({piece, room.size(), bytes.size()});
        std::copy_n(bytes.begin(), count, room.begin());
        reader.filled(count);
        bytes.remove_prefix(count);
        return count > 0;
    };
    try {
        for (;;) {
            if (!reader.has_input() && !feed()) return run;
            reader.begin();
            while (!reader.read_head()) {
                if (!feed()) return run;
            }
            if (reader.head().content_length > reader_body_limit) {
                run.error = "payload_too_large";
                return run;
            }
            reader.begin_body();
            while (!reader.body_complete()) {
                if (!feed()) return run;
            }
            const server::Request& request = reader.head().request;
            std::string text(server::to_string(request.method));
            text += " " + request.path + (request.query.empty() ? "" : "?" + request.query) + " " +
                    std::to_string(request.body.size()) + " ";
            text += request.body;
            run.requests.push_back(std::move(text));
            reader.release();
        }
    } catch (const base::Error& error) {
        run.error = base::to_string(error.code());
        return run;
    }
}

}  // namespace tests
