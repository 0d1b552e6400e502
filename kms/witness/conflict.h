// A log contradicts what was seen of it before.
#pragma once

#include <string>
#include <string_view>

namespace kms {

struct LogConflict {
    std::string reason;  // for people
    std::string origin;  // empty: a note that nobody signed
    std::string kept;    // signed notes, or what the header of an answer said; empty: none
    std::string seen;    // likewise; empty: no checkpoint at all
};

inline constexpr std::string_view log_is_shorter = "the audit log is shorter than it was";
inline constexpr std::string_view two_logs_of_one_size =
    "there are two audit logs of this name and size";
inline constexpr std::string_view log_of_another_name =
    "the key service shows an audit log of another name than before (a service of several nodes "
    "has "
    "one for each: \"nodes\" of \"witness\" says how many)";

}  // namespace kms
