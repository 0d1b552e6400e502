#include "vault/import/progress_bar.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace vault {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr std::uint64_t bar_width = 32;
constexpr milliseconds between_shows{100};

std::string seconds_as_text(std::uint64_t seconds) {
    if (seconds < 120) return std::to_string(seconds) + " s";
    if (seconds < 7200) return std::to_string(seconds / 60) + " min";
    return std::to_string(seconds / 3600) + " h";
}

}  // namespace

std::string progress_line(std::uint64_t done, std::uint64_t total, std::uint64_t records,
                          milliseconds since_begin) {
    const auto spent = static_cast<std::uint64_t>(since_begin.count());
    if (total == 0) {
        const std::string counted = std::to_string(records) + " records";
        return spent < 1000 ? counted : counted + " in " + seconds_as_text(spent / 1000);
    }
    done = std::min(done, total);
    const std::uint64_t filled = done * bar_width / total;
    std::string line = "[" + std::string(filled, '#') + std::string(bar_width - filled, '.') +
                       "] " + std::to_string(done * 100 / total) + " %  " +
                       std::to_string(records) + " records";
    // The first moments tell nothing.
    if (spent >= 1000 && done > 0 && done < total)
        line += "  " + seconds_as_text(spent * (total - done) / done / 1000) + " left";
    return line;
}

ProgressBar::ProgressBar() : wanted_(::isatty(STDERR_FILENO) == 1), begin_(steady_clock::now()) {}

ProgressBar::~ProgressBar() {
    if (is_shown_) static_cast<void>(std::fputs("\r\x1B[K", stderr));
}

void ProgressBar::show(std::uint64_t done, std::uint64_t total, std::uint64_t records) {
    const auto now = steady_clock::now();
    if (!wanted_ || (is_shown_ && now - shown_at_ < between_shows)) return;
    if (!is_shown_) first_done_ = std::min(done, total);
    const std::string line =
        progress_line(done - std::min(done, first_done_), total - first_done_, records,
                      std::chrono::duration_cast<milliseconds>(now - begin_));
    is_shown_ = true;
    shown_at_ = now;
    static_cast<void>(std::fprintf(stderr, "\r%s\x1B[K", line.c_str()));
    static_cast<void>(std::fflush(stderr));
}

}  // namespace vault
