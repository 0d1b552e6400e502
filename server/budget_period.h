// The periods of quotas, in UTC: hours, days, and months that begin on a day of the operator's
// choice, as bills do.
#pragma once

#include <string_view>

#include "base/clock.h"

namespace server {

// The enumerators are the words of files and answers.
enum class Window { hour, day, month };
std::string_view to_string(Window window) noexcept;

inline constexpr unsigned max_anchor_day = 28;  // every month has it

struct Period {
    base::Time begin;
    base::Time end;  // the next one's begin
};

// The period that `now` is in. `anchor_day`, 1 to max_anchor_day, is the first day of a month.
Period period_of(Window window, base::Time now, unsigned anchor_day);

}  // namespace server
