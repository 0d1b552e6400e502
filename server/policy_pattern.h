// Patterns of policies: which resources a rule names, which callers a binding names, which values a
// condition takes. Only text is compared here; what a rule does with the result is policy's.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "server/operation.h"
#include "server/policy_words.h"

namespace server {

// A caller without a name or a claim can't fill a placeholder, and a peer without an address is in
// no network: then nobody can say whether the pattern fits. Rights are given only by what fits, and
// taken away by what may fit. Ordered, so that "and" is the least and "or" the greatest.
enum class Fit { no, unknown, yes };

// Text with '*' for any run of characters, '/' among them, and optionally placeholders for the
// caller: {caller} is its id, {caller_name} what follows the last '/' of its id, {claim:NAME} a
// claim; one that has several values stands for each of them. A placeholder stands for its text as
// it is: a '*' in a caller's id is no wildcard. Immutable.
class Glob {
public:
    // Throws invalid_argument for an unknown or unclosed placeholder, for one where none may stand
    // and for two different claims.
    Glob(std::string_view text, bool placeholders);

    // `caller` may be null where no placeholder may stand.
    Fit matches(std::string_view text, const Caller* caller) const;
    bool has_wildcard() const { return pieces_.size() > 1; }
    bool is_literal() const { return pieces_.size() == 1 && !has_placeholder_; }
    // What every text that fits begins with.
    const std::string& prefix() const { return prefix_; }
    // As it was written.
    const std::string& text() const { return text_; }

private:
    enum class Part { literal, caller, caller_name, claim };
    struct Fragment {
        Part part;
        std::string text;  // of a literal; the name of a claim
    };
    using Piece = std::vector<Fragment>;  // what stands between two wildcards

    Piece parse_piece(std::string_view text, bool placeholders);
    Fragment placeholder(std::string_view word);
    bool matches_filled(std::string_view text, const Caller& caller, std::string_view claim) const;

    std::string text_;
    std::string prefix_;
    std::vector<std::string> plain_;  // the pieces' texts when there is no placeholder
    std::vector<Piece> pieces_;
    bool has_placeholder_ = false;
    bool names_caller_ = false;
    std::string claim_;  // the name of the claim it holds; empty: none
};

// The best that any of `globs` says.
Fit any_match(const std::vector<Glob>& globs, std::string_view text, const Caller* caller);

// "*", "kind:id", "kind:alias/<alias>", "kind:tag/<name>=<value>" or, for what has an owner,
// "kind:owner/id"; for what has an owner and tags (PolicyWords::is_owned_and_tagged)
// "kind:owner/tag/<name>=<value>", too, and no "kind:tag/<name>=<value>", which could mean either.
// Immutable.
class ResourcePattern {
public:
    // Throws invalid_argument saying what a pattern looks like.
    ResourcePattern(std::string_view text, const PolicyWords& words);

    Fit matches(const Resource& resource, const Caller& caller) const;
    // Whether it may fit any resource of that one's kind and owner, whatever its id and tags.
    bool may_fit_another(const Resource& resource, const Caller& caller) const;

    // The kind of resource that it is about; empty: every kind.
    const std::string& kind() const { return kind_; }
    bool is_about(std::string_view kind) const { return kind_.empty() || kind_ == kind; }
    // Whether it is "*" or "kind:*" and so fits whatever is of that kind; empty: of every kind.
    bool covers(std::string_view kind) const { return any_id_ && is_about(kind); }

    // The parts, for an index. `any_id`: it fits every id of its kind.
    bool any_id() const { return any_id_; }
    const Glob& whole() const { return whole_; }
    const Glob* alias() const { return alias_.empty() ? nullptr : alias_.data(); }
    const Glob* owner() const { return owner_and_name_.empty() ? nullptr : owner_and_name_.data(); }
    bool is_tag() const { return !tag_.empty(); }
    // As it was written.
    const std::string& text() const { return text_; }

private:
    void read_tag(std::string_view tag, const std::string& complaint);
    void read_owner(std::string_view id);
    void read_owned(std::string_view id);
    Fit matches_named(const Resource& resource, const Caller& caller) const;
    Fit matches_tag(const Resource& resource, const Caller& caller) const;
    bool names_tag_of_owner() const { return owner_and_name_.size() == 1; }

    std::string text_;
    std::string kind_;  // empty: every resource
    Glob whole_;        // the id part as one text
    bool any_id_ = false;
    // The same text as an alias, as a tag's name and value, or cut at its last '/': an owner's
    // pattern can't reach into the name, nor the name's into the owner. With a tag behind the owner
    // there is no name.
    std::vector<Glob> alias_;
    std::vector<Glob> tag_;
    std::vector<Glob> owner_and_name_;
};

}  // namespace server
