// Time as a seam: everything that asks for the time takes a Clock, so that tests set it by hand.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace base {

// Wall time in milliseconds, UTC.
using Time = std::chrono::sys_time<std::chrono::milliseconds>;

// Implementations are safe to share between threads.
class Clock {
public:
    virtual ~Clock() = default;
    virtual Time now() const = 0;
};

class SystemClock final : public Clock {
public:
    Time now() const override;
};

// RFC 3339 in UTC with milliseconds, e.g. "2026-11-22T06:17:00.123Z".
std::string to_rfc3339(Time time);
// Reads RFC 3339 with 'Z' or a numeric offset, 0 to 9 fraction digits (cut to milliseconds),
// years 1970 to 9999. Empty when it is anything else.
std::optional<Time> parse_rfc3339(std::string_view text);

// Milliseconds since 1970, as stores keep it.
inline std::int64_t to_milliseconds(Time time) { return time.time_since_epoch().count(); }
inline Time from_milliseconds(std::int64_t value) { return Time(std::chrono::milliseconds(value)); }

}  // namespace base
