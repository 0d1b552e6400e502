#include "vault/data_keys.h"

#include <string_view>
#include <utility>

namespace vault {
namespace {

// Its callers can do nothing: to them it is an outage.
constexpr std::string_view refusal = "the key service refuses this vault; its operator must act";

}  // namespace

base::Error refused_by_key_service(std::string detail) {
    return {base::ErrorCode::unavailable, std::string(refusal), std::move(detail)};
}

bool is_refusal(const base::Error& error) {
    return error.code() == base::ErrorCode::unavailable && error.message() == refusal;
}

ReadKey DataKeys::unwrap_to_read(const WrappedKey& item, const std::string& /*reader*/,
                                 const std::string& traceparent) {
    return {unwrap(item.wrapped, item.context, traceparent), false};
}

std::vector<ReadOutcome> DataKeys::unwrap_many_to_read(std::span<const WrappedKey> items,
                                                       const std::string& /*reader*/,
                                                       const std::string& traceparent) {
    std::vector<ReadOutcome> outcomes;
    outcomes.reserve(items.size());
    for (UnwrapOutcome& outcome : unwrap_many(items, traceparent)) {
        if (auto* error = std::get_if<base::Error>(&outcome)) {
            outcomes.emplace_back(std::move(*error));
        } else {
            outcomes.emplace_back(ReadKey{std::get<base::SecretBytes>(std::move(outcome)), false});
        }
    }
    return outcomes;
}

void DataKeys::forget(const KeyContext& /*parts*/) noexcept {}

}  // namespace vault
