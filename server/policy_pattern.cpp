#include "server/policy_pattern.h"

namespace server {
namespace {

using base::Error;
using base::ErrorCode;

constexpr std::string_view alias_prefix = "alias/";
constexpr std::string_view tag_prefix = "tag/";
// Between an owner and a tag. Owners of the kind that has both have no '/', so it is nothing else.
constexpr std::string_view tag_of_owner = "/tag/";
constexpr std::string_view claim_prefix = "{claim:";

bool is_kind(std::string_view text) {
    return !text.empty() && std::all_of(text.begin(), text.end(),
                                        [](char c) { return (c >= 'a' && c <= 'z') || c == '_'; });
}

std::string_view name_of(std::string_view id) { return id.substr(id.rfind('/') + 1); }

Fit to_match(bool fits) { return fits ? Fit::yes : Fit::no; }

// `pieces` in order in `text`: the first at its start, the last at its end.
template <typename Pieces>
bool match_pieces(const Pieces& pieces, std::string_view text) {
    if (pieces.size() == 1) return text == pieces.front();
    if (!text.starts_with(pieces.front())) return false;
    text.remove_prefix(pieces.front().size());
    for (std::size_t i = 1; i + 1 < pieces.size(); ++i) {
        const std::size_t at = text.find(pieces[i]);
        if (at == std::string_view::npos) return false;
        text.remove_prefix(at + pieces[i].size());
    }
    return text.ends_with(pieces.back());
}

std::string_view id_part(std::string_view text) {
    if (text == "*") return text;
    const std::size_t colon = text.find(':');
    if (colon == std::string_view::npos || !is_kind(text.substr(0, colon)) ||
        colon + 1 == text.size()) {
        throw Error(
            ErrorCode::invalid_argument,
            R"(must be "*", "kind:id", "kind:alias/name", "kind:tag/name=value" or "kind:owner/name", with '*' as a wildcard)");
    }
    return text.substr(colon + 1);
}

}  // namespace

Glob::Glob(std::string_view text, bool placeholders) : text_(text) {
    for (bool more = true; more;) {
        const std::size_t star = text.find('*');
        more = star != std::string_view::npos;
        pieces_.push_back(parse_piece(text.substr(0, star), placeholders));
        if (more) text.remove_prefix(star + 1);
    }
    for (const Piece& piece : pieces_) {
        std::string joined;
        for (const Fragment& fragment : piece) {
            has_placeholder_ = has_placeholder_ || fragment.part != Part::literal;
            joined += fragment.text;
        }
        plain_.push_back(std::move(joined));
    }
    for (const Fragment& fragment : pieces_.front()) {
        if (fragment.part != Part::literal) break;
        prefix_ += fragment.text;
    }
}

Glob::Fragment Glob::placeholder(std::string_view word) {
    if (word == "{caller}") {
        names_caller_ = true;
        return {Part::caller, {}};
    }
    if (word == "{caller_name}") {
        names_caller_ = true;
        return {Part::caller_name, {}};
    }
    if (word.starts_with(claim_prefix) && word.size() > claim_prefix.size() + 1) {
        std::string name(word.substr(claim_prefix.size(), word.size() - claim_prefix.size() - 1));
        if (!claim_.empty() && claim_ != name) {
            throw Error(ErrorCode::invalid_argument, "may name one claim only");
        }
        claim_ = name;
        return {Part::claim, std::move(name)};
    }
    throw Error(ErrorCode::invalid_argument,
                "may hold braces only as {caller}, {caller_name} or {claim:NAME}");
}

Glob::Piece Glob::parse_piece(std::string_view text, bool placeholders) {
    Piece piece;
    while (!text.empty()) {
        const std::size_t open = text.find_first_of("{}");
        if (open != 0) piece.push_back({Part::literal, std::string(text.substr(0, open))});
        if (open == std::string_view::npos) break;
        text.remove_prefix(open);
        if (!placeholders) throw Error(ErrorCode::invalid_argument, "may not hold braces");
        const std::string_view word =
            text.substr(0, text.find('}') == std::string_view::npos ? 0 : text.find('}') + 1);
        piece.push_back(placeholder(word));
        text.remove_prefix(word.size());
    }
    return piece;
}

bool Glob::matches_filled(std::string_view text, const Caller& caller,
                          std::string_view claim) const {
    std::vector<std::string> filled;
    filled.reserve(pieces_.size());
    for (const Piece& piece : pieces_) {
        std::string& joined = filled.emplace_back();
        for (const Fragment& fragment : piece) {
            switch (fragment.part) {
                case Part::literal:
                    joined += fragment.text;
                    break;
                case Part::caller:
                    joined += caller.id;
                    break;
                case Part::caller_name:
                    joined += name_of(caller.id);
                    break;
                case Part::claim:
                    joined += claim;
                    break;
            }
        }
    }
    return match_pieces(filled, text);
}

Fit Glob::matches(std::string_view text, const Caller* caller) const {
    if (!has_placeholder_) return to_match(match_pieces(plain_, text));
    if (!text.starts_with(prefix_)) return Fit::no;
    // A placeholder without text would turn "{caller_name}/*" into "/*".
    if (caller == nullptr || (names_caller_ && name_of(caller->id).empty())) return Fit::unknown;
    if (claim_.empty()) return to_match(matches_filled(text, *caller, {}));
    Fit best = Fit::unknown;
    const auto claim = caller->claims.find(claim_);
    if (claim == caller->claims.end()) return best;
    for (const std::string& value : claim->second) {
        if (value.empty()) continue;
        if (matches_filled(text, *caller, value)) return Fit::yes;
        best = Fit::no;
    }
    return best;
}

Fit any_match(const std::vector<Glob>& globs, std::string_view text, const Caller* caller) {
    Fit best = Fit::no;
    for (const Glob& glob : globs) {
        best = std::max(best, glob.matches(text, caller));
        if (best == Fit::yes) break;
    }
    return best;
}

ResourcePattern::ResourcePattern(std::string_view text, const PolicyWords& words)
    : text_(text), whole_(id_part(text), true) {
    const std::string_view id = id_part(text);
    any_id_ = id == "*";
    if (text == "*") return;
    kind_ = text.substr(0, text.find(':'));
    if (id.starts_with(alias_prefix)) alias_.emplace_back(id.substr(alias_prefix.size()), true);
    if (words.is_owned_and_tagged(kind_)) {
        read_owned(id);
        return;
    }
    if (id.starts_with(tag_prefix))
        read_tag(id.substr(tag_prefix.size()), "must name a tag as \"kind:tag/name=value\"");
    read_owner(id);
}

void ResourcePattern::read_tag(std::string_view tag, const std::string& complaint) {
    const std::size_t equals = tag.find('=');
    if (equals == std::string_view::npos || equals == 0)
        throw Error(ErrorCode::invalid_argument, complaint);
    tag_.emplace_back(tag.substr(0, equals), true);
    tag_.emplace_back(tag.substr(equals + 1), true);
}

void ResourcePattern::read_owner(std::string_view id) {
    const std::size_t slash = id.rfind('/');
    if (slash == std::string_view::npos) return;
    owner_and_name_.emplace_back(id.substr(0, slash), true);
    owner_and_name_.emplace_back(id.substr(slash + 1), true);
}

// "owner/name" or "owner/tag/name=value". What begins with "tag/" is of the owner "tag"; with a '='
// in the name it would be read as a tag by people.
void ResourcePattern::read_owned(std::string_view id) {
    if (id.starts_with(tag_prefix) && id.find('=') != std::string_view::npos &&
        id.find(tag_of_owner) == std::string_view::npos) {
        throw Error(ErrorCode::invalid_argument,
                    "may mean a tag or an owner named \"tag\": write \"" + kind_ +
                        ":*/tag/name=value\" for the tag, and \"" + kind_ +
                        ":*/name\" with the condition \"owner\": [\"tag\"] for the owner");
    }
    const std::size_t middle = id.find(tag_of_owner);
    if (middle == std::string_view::npos) return read_owner(id);
    owner_and_name_.emplace_back(id.substr(0, middle), true);
    read_tag(id.substr(middle + tag_of_owner.size()),
             "must name a tag as \"" + kind_ + ":owner/tag/name=value\"");
}

Fit ResourcePattern::matches_tag(const Resource& resource, const Caller& caller) const {
    if (resource.of_many) return Fit::unknown;
    Fit best = Fit::no;
    for (const auto& [name, value] : resource.tags) {
        best = std::max(best,
                        std::min(tag_[0].matches(name, &caller), tag_[1].matches(value, &caller)));
    }
    return best;
}

Fit ResourcePattern::matches_named(const Resource& resource, const Caller& caller) const {
    Fit best = Fit::no;
    if (!alias_.empty()) {
        for (const std::string& alias : resource.aliases) {
            best = std::max(best, alias_[0].matches(alias, &caller));
        }
        return best;
    }
    if (!tag_.empty()) return matches_tag(resource, caller);
    return whole_.matches(resource.id, &caller);
}

Fit ResourcePattern::matches(const Resource& resource, const Caller& caller) const {
    if (!kind_.empty() && kind_ != resource.kind) return Fit::no;
    if (any_id_) return Fit::yes;
    if (resource.owner.empty() && names_tag_of_owner())
        return resource.of_many ? Fit::unknown : Fit::no;
    if (resource.owner.empty()) return matches_named(resource, caller);
    if (owner_and_name_.empty()) return Fit::no;
    const Fit owner = owner_and_name_[0].matches(resource.owner, &caller);
    if (owner == Fit::no) return owner;
    // Of other kinds that have owners, "tag/" is an owner as any other.
    if (names_tag_of_owner()) return std::min(owner, matches_tag(resource, caller));
    return std::min(owner, owner_and_name_[1].matches(resource.id, &caller));
}

bool ResourcePattern::may_fit_another(const Resource& resource, const Caller& caller) const {
    if (!kind_.empty() && kind_ != resource.kind) return false;
    if (any_id_ || resource.owner.empty()) return true;
    return !owner_and_name_.empty() &&
           owner_and_name_[0].matches(resource.owner, &caller) != Fit::no;
}

}  // namespace server
