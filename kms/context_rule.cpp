#include "kms/context_rule.h"

#include <algorithm>

#include "base/error.h"

namespace kms {
namespace {

[[noreturn]] void refuse_context(const std::string& complaint) {
    throw base::Error(base::ErrorCode::invalid_argument, "\"context\" " + complaint);
}

[[noreturn]] void refuse_entry(const std::string& key, const std::string& complaint) {
    throw base::Error(base::ErrorCode::invalid_argument, "\"context." + key + "\" " + complaint);
}

bool is_known(const ContextRule& rule, const std::string& key) {
    return rule.patterns.count(key) != 0 ||
           std::find(rule.required.begin(), rule.required.end(), key) != rule.required.end();
}

}  // namespace

bool matches_pattern(std::string_view pattern, std::string_view text) noexcept {
    constexpr auto none = std::string_view::npos;
    std::size_t p = 0;
    std::size_t t = 0;
    std::size_t last_star = none;
    std::size_t behind_star = 0;  // where the text went on when the last '*' was met
    while (t < text.size()) {
        if (p < pattern.size() && pattern[p] == '*') {
            last_star = p++;
            behind_star = t;
        } else if (p < pattern.size() && pattern[p] == text[t]) {
            ++p;
            ++t;
        } else if (last_star != none) {
            // The last '*' takes one byte more, and the rest is tried again.
            p = last_star + 1;
            t = ++behind_star;
        } else {
            return false;
        }
    }
    return pattern.find_first_not_of('*', p) == none;
}

void require_context(const ContextRule& rule, const EncryptionContext& context) {
    for (const auto& key : rule.required) {
        if (context.count(key) == 0) refuse_entry(key, "is missing; this key demands it");
    }
    std::size_t total = 0;
    for (const auto& [key, value] : context) {
        if (!rule.allow_others && !is_known(rule, key)) {
            refuse_entry(key, "is not one that this key knows");
        }
        const auto pattern = rule.patterns.find(key);
        if (pattern != rule.patterns.end() && !matches_pattern(pattern->second, value)) {
            refuse_entry(key, "must match \"" + pattern->second + "\"");
        }
        total += key.size() + value.size();
    }
    if (total > rule.max_bytes) {
        refuse_context("must have at most " + std::to_string(rule.max_bytes) +
                       " bytes in all under this key");
    }
}

}  // namespace kms
