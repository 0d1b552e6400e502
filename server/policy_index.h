// Finds, among many patterns, the few that a text may fit, at a cost that does not depend on how
// many there are: one look-up for the whole text and one for each length that a pattern's fixed
// beginning has. What it finds still has to be matched.
#pragma once

#include <algorithm>
#include <cstddef>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "server/policy_rules.h"

namespace server {

// Thread-safe once filled.
class PatternIndex {
public:
    // `value` is whatever the one who asks wants back.
    void add(const Glob& pattern, std::size_t value) {
        if (pattern.is_literal()) {
            literals_[pattern.text()].push_back(value);
            return;
        }
        prefixes_[pattern.prefix()].push_back(value);
        const auto place =
            std::lower_bound(lengths_.begin(), lengths_.end(), pattern.prefix().size());
        if (place == lengths_.end() || *place != pattern.prefix().size()) {
            lengths_.insert(place, pattern.prefix().size());
        }
    }

    // Calls `visit(value)` for each pattern that `text` may fit.
    template <typename Visit>
    void visit(std::string_view text, Visit visit) const {
        visit_at(literals_, text, visit);
        for (const std::size_t length : lengths_) {
            if (length > text.size()) break;
            visit_at(prefixes_, text.substr(0, length), visit);
        }
    }

private:
    struct Hash {
        using is_transparent = void;
        std::size_t operator()(std::string_view text) const {
            return std::hash<std::string_view>()(text);
        }
    };
    using Places = std::unordered_map<std::string, std::vector<std::size_t>, Hash, std::equal_to<>>;

    template <typename Visit>
    static void visit_at(const Places& places, std::string_view text, Visit& visit) {
        const auto found = places.find(text);
        if (found == places.end()) return;
        for (const std::size_t value : found->second) visit(value);
    }

    Places literals_;
    Places prefixes_;
    std::vector<std::size_t> lengths_;  // of prefixes, ascending
};

// Finds, among many bindings, those that may fit a caller.
class BindingIndex {
public:
    void add(const Binding& binding, std::size_t place) {
        if (!binding.caller.empty()) return callers_.add(binding.caller.front(), place);
        const auto& [name, globs] = binding.claims.front();
        for (const Glob& glob : globs) claims_[name].add(glob, place);
    }

    // Calls `visit(place)` for each binding that `caller` may fit, some of them more than once.
    template <typename Visit>
    void visit(const Caller& caller, Visit visit) const {
        callers_.visit(caller.id, visit);
        if (claims_.empty()) return;
        for (const auto& [name, values] : caller.claims) {
            const auto index = claims_.find(name);
            if (index == claims_.end()) continue;
            for (const std::string& value : values) index->second.visit(value, visit);
        }
    }
    // The same for those that name callers, by an id alone.
    template <typename Visit>
    void visit_named(std::string_view id, Visit visit) const {
        callers_.visit(id, visit);
    }

private:
    PatternIndex callers_;
    std::map<std::string, PatternIndex, std::less<>> claims_;  // bindings without a caller
};

}  // namespace server
