// The words that a daemon's policies and budgets may use. They are the daemon's own: the rooms here
// compare them, and know of no service what it keeps.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <map>
#include <string_view>
#include <vector>

namespace server {

// Views of constants.
class PolicyWords {
public:
    using Kinds = std::vector<std::string_view>;

    PolicyWords() = default;
    // Actions of which nobody says on what they are done.
    PolicyWords(std::initializer_list<std::string_view> actions) {
        for (const std::string_view word : actions) kinds_[word];
    }
    PolicyWords(const std::vector<std::string_view>& actions) {
        for (const std::string_view word : actions) kinds_[word];
    }

    // `actions` are done on resources of `kind`, and on those of other kinds that are said so.
    PolicyWords& add(std::string_view kind, std::initializer_list<std::string_view> actions) {
        for (const std::string_view word : actions) kinds_[word].push_back(kind);
        return *this;
    }
    // Resources of `kind` have an owner, whose name has no '/', and tags: see ResourcePattern.
    PolicyWords& add_owned_and_tagged(std::string_view kind) {
        owned_and_tagged_.push_back(kind);
        return *this;
    }
    // `action`, on all of an owner, does `part` to each: whom a deny may keep from `part`, or from
    // `action`, on any of them may not do it to all.
    PolicyWords& add_part(std::string_view action, std::string_view part) {
        parts_[action].push_back(part);
        return *this;
    }

    bool empty() const { return kinds_.empty(); }
    bool knows(std::string_view action) const { return kinds_.contains(action); }
    // Of the resources that the action is done on; empty: nobody says.
    const Kinds& kinds_of(std::string_view action) const {
        static const Kinds unknown;
        const auto found = kinds_.find(action);
        return found == kinds_.end() ? unknown : found->second;
    }
    // Every action with its kinds, by word.
    const std::map<std::string_view, Kinds>& actions() const& { return kinds_; }
    void actions() const&& = delete;
    bool is_owned_and_tagged(std::string_view kind) const {
        return std::find(owned_and_tagged_.begin(), owned_and_tagged_.end(), kind) !=
               owned_and_tagged_.end();
    }

    // What the action does to each of an owner's; empty: it shows them, or nobody says.
    const std::vector<std::string_view>& parts_of(std::string_view action) const {
        static const std::vector<std::string_view> none;
        const auto found = parts_.find(action);
        return found == parts_.end() ? none : found->second;
    }

    // What a list, or all of an owner, is asked as: no resource of the kind is named so.
    bool is_of_many(std::string_view kind, std::string_view id) const {
        return id == "*" && is_owned_and_tagged(kind);
    }

    bool operator==(const PolicyWords&) const = default;

private:
    std::map<std::string_view, Kinds> kinds_;
    std::vector<std::string_view> owned_and_tagged_;
    std::map<std::string_view, std::vector<std::string_view>> parts_;
};

}  // namespace server
