// Which of many things are looked at: all, or some by chance.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <set>

#include "vault/import/verify.h"

namespace vault {

// Numbers from 1 to a total. A value type.
class Sample {
public:
    // All numbers when `wanted` is empty; else as many, each as likely, of the total that is asked
    // for. Throws unavailable without randomness.
    Sample(std::optional<std::uint64_t> wanted, const std::function<std::uint64_t()>& total);
    bool has(std::uint64_t number) const { return is_all_ || numbers_.contains(number); }

private:
    bool is_all_;
    std::set<std::uint64_t> numbers_;
};

std::uint64_t count_records(const SourceOpener& source);

// What should be there. Counts in `report` a record, and one that has no secret or is unreadable.
DecodedRecord decode_for_comparison(SourceRecord& record, const ImportDecoder& decoder,
                                    MigrationReport& report);

}  // namespace vault
