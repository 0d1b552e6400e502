// A line on standard error that shows how far something came: on a terminal only, since scripts
// want none.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace vault {

// "[####....] 40 %  1203 records  3 min left" as one line without an end; `done` over `total`
// of anything. "1203 records in 3 min" while the total is unknown (0).
std::string progress_line(std::uint64_t done, std::uint64_t total, std::uint64_t records,
                          std::chrono::milliseconds since_begin);

// Not thread-safe. Takes its line away at its end.
class ProgressBar {
public:
    ProgressBar();
    ~ProgressBar();
    ProgressBar(const ProgressBar&) = delete;
    ProgressBar& operator=(const ProgressBar&) = delete;

    // At most ten times a second, whatever is asked.
    void show(std::uint64_t done, std::uint64_t total, std::uint64_t records);

private:
    const bool wanted_;
    const std::chrono::steady_clock::time_point begin_;
    std::chrono::steady_clock::time_point shown_at_{};
    std::uint64_t first_done_ =
        0;  // when the first was shown: a resumed import begins in the middle
    bool is_shown_ = false;
};

}  // namespace vault
