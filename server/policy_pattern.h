// Patterns of policies: which resources a rule names, which callers a binding names.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "server/operation.h"

namespace server {

// A caller without a name can't fill a placeholder; what such a text matches then, the one who asks
// says: nothing where rights are given, everything where they are taken away.
enum class Unfillable { matches_nothing, matches_everything };

// Text with '*' for any run of characters, '/' among them, and optionally placeholders for the
// caller: {caller} is its id, {caller_name} what follows the last '/' of its id. A placeholder
// stands for its text as it is: a '*' in a caller's id is no wildcard. Immutable.
class Glob {
public:
    // Throws invalid_argument for an unknown or unclosed placeholder, or one where none may stand.
    Glob(std::string_view text, bool placeholders);

    bool matches(std::string_view text, const Caller* caller,
                 Unfillable unfillable = Unfillable::matches_nothing) const;
    bool is_literal() const { return pieces_.size() == 1 && !has_placeholder_; }

private:
    enum class Part { literal, caller, caller_name };
    struct Fragment {
        Part part;
        std::string text;  // of a literal
    };
    using Piece = std::vector<Fragment>;  // what stands between two wildcards

    static Piece parse_piece(std::string_view text, bool placeholders);
    static std::string_view text_of(const Fragment& fragment, const Caller& caller);

    std::vector<std::string> plain_;  // the pieces' texts when there is no placeholder
    std::vector<Piece> pieces_;
    bool has_placeholder_ = false;
};

// "*", "kind:id", "kind:alias/<alias>" or, for what has an owner, "kind:owner/id". Immutable.
class ResourcePattern {
public:
    // Throws invalid_argument saying what a pattern looks like.
    explicit ResourcePattern(std::string_view text);

    bool matches(const Resource& resource, const Caller& caller, Unfillable unfillable) const;

private:
    std::string kind_;  // empty: every resource
    Glob whole_;        // the id part as one text
    bool any_id_ = false;
    // The same text as an alias, or cut at its last '/': an owner's pattern can't reach into the
    // name, nor the name's into the owner.
    std::vector<Glob> alias_;
    std::vector<Glob> owner_and_name_;
};

}  // namespace server
