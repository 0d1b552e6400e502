#include "vault/reasons.h"

#include <algorithm>

#include "base/encoding.h"
#include "base/error.h"
#include "base/json.h"
#include "vault/actions.h"

namespace vault {
namespace {

constexpr std::size_t max_reason_rules = 100;
constexpr std::size_t max_reason_patterns = 100;
constexpr std::size_t max_pattern_bytes = 2048;

bool is_control(unsigned char c) { return c < 0x20 || c == 0x7f; }

// In UTF-8: U+0080 to U+009F; U+200E, U+200F, U+2028 to U+202E and U+2066 to U+2069; U+061C.
bool begins_with_hidden(std::string_view text) {
    const auto byte = [&text](std::size_t i) {
        return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U;
    };
    if (byte(0) == 0xc2) return byte(1) >= 0x80 && byte(1) <= 0x9f;
    if (byte(0) == 0xd8) return byte(1) == 0x9c;
    if (byte(0) != 0xe2) return false;
    if (byte(1) == 0x80) {
        return byte(2) == 0x8e || byte(2) == 0x8f || (byte(2) >= 0xa8 && byte(2) <= 0xae);
    }
    return byte(1) == 0x81 && byte(2) >= 0xa6 && byte(2) <= 0xa9;
}

std::vector<server::ResourcePattern> read_patterns(base::JsonReader& reader) {
    const server::PolicyWords words = known_actions();
    std::vector<server::ResourcePattern> patterns;
    const auto texts =
        reader.optional_string_array("resources", max_reason_patterns, max_pattern_bytes);
    if (texts.empty()) reader.refuse("resources", "must name at least one");
    for (const std::string& text : texts) {
        try {
            patterns.emplace_back(text, words);
        } catch (const base::Error& error) {
            reader.refuse("resources", error.message());
        }
    }
    return patterns;
}

}  // namespace

bool is_reason(std::string_view text) noexcept {
    if (text.size() > max_reason_bytes || !base::is_utf8(text)) return false;
    if (text.find_first_not_of(' ') == std::string_view::npos) return false;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (is_control(static_cast<unsigned char>(text[i]))) return false;
        if (begins_with_hidden(text.substr(i))) return false;
    }
    return true;
}

bool ReasonRules::ask(const server::Caller& caller, const server::Resource& resource) const {
    return std::any_of(rules_.begin(), rules_.end(), [&](const ReasonRule& rule) {
        return rule.callers.fits(caller) &&
               std::any_of(rule.resources.begin(), rule.resources.end(), [&](const auto& pattern) {
                   return pattern.matches(resource, caller) != server::Fit::no;
               });
    });
}

bool ReasonRules::ask_for_tags() const {
    return std::any_of(rules_.begin(), rules_.end(), [](const ReasonRule& rule) {
        return std::any_of(rule.resources.begin(), rule.resources.end(),
                           [](const auto& pattern) { return pattern.is_tag(); });
    });
}

ReasonRules read_reason_rules(base::JsonReader& reader, std::string_view name) {
    std::vector<ReasonRule> rules;
    const auto* items = reader.optional_array(name, max_reason_rules);
    if (items == nullptr) return ReasonRules();
    for (std::size_t i = 0; i < items->size(); ++i) {
        base::JsonReader item((*items)[i], reader.item_path(name, i));
        ReasonRule rule;
        server::read_bound(item, rule.callers);
        rule.resources = read_patterns(item);
        item.refuse_unknown();
        rules.push_back(std::move(rule));
    }
    return ReasonRules(std::move(rules));
}

}  // namespace vault
