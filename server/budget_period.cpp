#include "server/budget_period.h"

namespace server {

std::string_view to_string(Window window) noexcept {
    switch (window) {
        case Window::hour:
            return "hour";
        case Window::day:
            return "day";
        case Window::month:
            return "month";
    }
    return {};
}

Period period_of(Window window, base::Time now, unsigned anchor_day) {
    using std::chrono::days;
    using std::chrono::hours;
    if (window == Window::hour) {
        const auto begin = std::chrono::floor<hours>(now);
        return {begin, begin + hours(1)};
    }
    const auto today = std::chrono::floor<days>(now);
    if (window == Window::day) return {today, today + days(1)};
    const std::chrono::year_month_day date(today);
    std::chrono::year_month month = date.year() / date.month();
    if (static_cast<unsigned>(date.day()) < anchor_day) month -= std::chrono::months(1);
    const std::chrono::day anchor(anchor_day);
    return {std::chrono::sys_days(month / anchor),
            std::chrono::sys_days((month + std::chrono::months(1)) / anchor)};
}

}  // namespace server
