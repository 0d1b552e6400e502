#include "server/policy_pattern.h"

#include <algorithm>

namespace server {
namespace {

using base::Error;
using base::ErrorCode;

constexpr std::string_view alias_prefix = "alias/";

bool is_kind(std::string_view text) {
    return !text.empty() && std::all_of(text.begin(), text.end(),
                                        [](char c) { return (c >= 'a' && c <= 'z') || c == '_'; });
}

std::string_view name_of(std::string_view id) { return id.substr(id.rfind('/') + 1); }

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
            R"(must be "*", "kind:id", "kind:alias/name" or "kind:owner/name", with '*' as a wildcard)");
    }
    return text.substr(colon + 1);
}

}  // namespace

Glob::Glob(std::string_view text, bool placeholders) {
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
}

Glob::Piece Glob::parse_piece(std::string_view text, bool placeholders) {
    Piece piece;
    while (!text.empty()) {
        const std::size_t open = text.find_first_of("{}");
        if (open != 0) piece.push_back({Part::literal, std::string(text.substr(0, open))});
        if (open == std::string_view::npos) break;
        text.remove_prefix(open);
        const std::string_view word =
            text.substr(0, text.find('}') == std::string_view::npos ? 0 : text.find('}') + 1);
        if (placeholders && word == "{caller}") {
            piece.push_back({Part::caller, {}});
        } else if (placeholders && word == "{caller_name}") {
            piece.push_back({Part::caller_name, {}});
        } else {
            throw Error(ErrorCode::invalid_argument,
                        placeholders ? "may hold braces only as {caller} or {caller_name}"
                                     : "may not hold braces");
        }
        text.remove_prefix(word.size());
    }
    return piece;
}

std::string_view Glob::text_of(const Fragment& fragment, const Caller& caller) {
    switch (fragment.part) {
        case Part::literal:
            return fragment.text;
        case Part::caller:
            return caller.id;
        case Part::caller_name:
            return name_of(caller.id);
    }
    return {};
}

bool Glob::matches(std::string_view text, const Caller* caller, Unfillable unfillable) const {
    if (!has_placeholder_) return match_pieces(plain_, text);
    // A placeholder without text would turn "{caller_name}/*" into "/*".
    if (caller == nullptr || name_of(caller->id).empty()) {
        return unfillable == Unfillable::matches_everything;
    }
    std::vector<std::string> filled;
    filled.reserve(pieces_.size());
    for (const Piece& piece : pieces_) {
        std::string& joined = filled.emplace_back();
        for (const Fragment& fragment : piece) joined += text_of(fragment, *caller);
    }
    return match_pieces(filled, text);
}

ResourcePattern::ResourcePattern(std::string_view text) : whole_(id_part(text), true) {
    const std::string_view id = id_part(text);
    any_id_ = id == "*";
    if (text == "*") return;
    kind_ = text.substr(0, text.find(':'));
    if (id.starts_with(alias_prefix)) alias_.emplace_back(id.substr(alias_prefix.size()), true);
    const std::size_t slash = id.rfind('/');
    if (slash != std::string_view::npos) {
        owner_and_name_.emplace_back(id.substr(0, slash), true);
        owner_and_name_.emplace_back(id.substr(slash + 1), true);
    }
}

bool ResourcePattern::matches(const Resource& resource, const Caller& caller,
                              Unfillable unfillable) const {
    const auto fits = [&](const Glob& glob, std::string_view text) {
        return glob.matches(text, &caller, unfillable);
    };
    if (!kind_.empty() && kind_ != resource.kind) return false;
    if (any_id_) return true;
    if (!resource.owner.empty()) {
        return !owner_and_name_.empty() && fits(owner_and_name_[0], resource.owner) &&
               fits(owner_and_name_[1], resource.id);
    }
    if (!alias_.empty()) {
        return std::any_of(resource.aliases.begin(), resource.aliases.end(),
                           [&](const std::string& alias) { return fits(alias_[0], alias); });
    }
    return fits(whole_, resource.id);
}

}  // namespace server
