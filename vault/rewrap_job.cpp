#include "vault/rewrap_job.h"

#include <array>

namespace vault {
namespace {

constexpr std::array<std::string_view, 4> rewrap_state_words = {"running", "concluding",
                                                                "completed", "cancelled"};

}  // namespace

std::string_view to_string(RewrapState state) noexcept {
    return rewrap_state_words.at(static_cast<std::size_t>(state));
}

std::optional<RewrapState> to_rewrap_state(std::string_view word) noexcept {
    for (std::size_t i = 0; i < rewrap_state_words.size(); ++i) {
        if (rewrap_state_words.at(i) == word) return static_cast<RewrapState>(i);
    }
    return std::nullopt;
}

std::uint64_t RewrapJob::left() const {
    if (statement) return statement->remaining;
    const std::uint64_t settled = done + failed + superseded;
    return settled < total ? total - settled : 0;
}

double RewrapJob::rate(base::Time now) const {
    const bool whole = finished_at.has_value();
    const std::chrono::duration<double> span = whole ? *finished_at - created_at : now - mark_at;
    const std::uint64_t moved = whole ? done : done - mark_done;
    return span.count() <= 0 ? 0 : static_cast<double>(moved) / span.count();
}

}  // namespace vault
