// A log contradicts what was seen of it before.
#pragma once

#include <string>
#include <string_view>

namespace kms {

struct LogConflict {
    std::string reason;  // for people
    std::string origin;  // empty: a note that nobody signed
    std::string kept;    // a signed note, or what the header of an answer said
    std::string seen;    // likewise; empty: no checkpoint at all
};

inline constexpr std::string_view log_is_shorter = "the audit log is shorter than it was";
inline constexpr std::string_view two_logs_of_one_size =
    "there are two audit logs of this name and size";

}  // namespace kms
