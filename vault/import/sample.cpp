#include "vault/import/sample.h"

#include <array>

#include "base/random.h"

namespace vault {
namespace {

// From 0 to `below` - 1, each as likely.
std::uint64_t random_below(std::uint64_t below) {
    const std::uint64_t surplus = (UINT64_MAX % below + 1) % below;
    for (;;) {
        std::array<std::uint8_t, 8> bytes{};
        base::random_bytes(bytes);
        std::uint64_t number = 0;
        for (const std::uint8_t byte : bytes) number = number << 8U | byte;
        if (number <= UINT64_MAX - surplus) return number % below;
    }
}

}  // namespace

Sample::Sample(std::optional<std::uint64_t> wanted, const std::function<std::uint64_t()>& total)
    : is_all_(!wanted) {
    if (is_all_) return;
    const std::uint64_t count = total();
    if (*wanted >= count) {
        is_all_ = true;
        return;
    }
    // Floyd's: as many numbers as wanted, none asked for twice.
    for (std::uint64_t last = count - *wanted + 1; last <= count; ++last) {
        const std::uint64_t number = random_below(last) + 1;
        if (!numbers_.insert(number).second) numbers_.insert(last);
    }
}

std::uint64_t count_records(const SourceOpener& source) {
    const auto reader = source();
    while (reader->next()) continue;
    return reader->position().records;
}

}  // namespace vault
