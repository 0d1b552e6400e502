#include "vault/import/columns.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "base/clock.h"
#include "base/error.h"

namespace vault {
namespace {

using base::Error;
using base::ErrorCode;
using base::JsonValue;

// The member of that name, of a record or of one that may be changed.
template <typename Value>
Value* find_member(Value& record, std::string_view name) {
    auto* members = record.object();
    if (members == nullptr) return nullptr;
    for (auto& member : *members) {
        if (member.name == name) return &member.value;
    }
    return nullptr;
}

template <typename Value>
Value* find_place(Value& record, std::string_view name) {
    if (Value* value = find_member(record, name)) return value;
    for (auto dot = name.find('.'); dot != std::string_view::npos; dot = name.find('.', dot + 1)) {
        Value* member = find_member(record, name.substr(0, dot));
        if (member == nullptr) continue;
        if (Value* found = find_place(*member, name.substr(dot + 1))) return found;
    }
    return nullptr;
}

std::optional<std::int64_t> to_number(std::string_view text) {
    std::int64_t number = 0;
    const char* end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, number);
    if (text.empty() || error != std::errc() || stop != end) return std::nullopt;
    return number;
}

// What no export means as seconds any more, since it would be the year 5138.
constexpr std::int64_t least_milliseconds = 100'000'000'000;
constexpr std::int64_t latest_second = 253'402'300'799;  // of the year 9999

std::optional<std::string> from_epoch(std::int64_t number) {
    const std::int64_t milliseconds = number < least_milliseconds ? number * 1000 : number;
    if (number < 0 || milliseconds > latest_second * 1000) return std::nullopt;
    return base::to_rfc3339(base::from_milliseconds(milliseconds));
}

constexpr std::size_t date_and_minute = 16;  // "2030-01-31T12:00"
constexpr std::size_t date_bytes = 10;

}  // namespace

const JsonValue* find_column(const JsonValue& record, std::string_view name) {
    return find_place(record, name);
}

void erase_found(std::vector<std::string>& names, const JsonValue& record) {
    std::erase_if(
        names, [&record](const std::string& name) { return find_column(record, name) != nullptr; });
}

JsonValue with_column(const JsonValue& record, std::string_view name, JsonValue value) {
    JsonValue out = record;
    JsonValue* place = find_place(out, name);
    if (place == nullptr) throw Error(ErrorCode::internal, "a column is not where it was");
    *place = std::move(value);
    return out;
}

ColumnText::ColumnText(std::string_view text) {
    std::string literal;
    const auto end_literal = [&] {
        if (!literal.empty()) pieces_.push_back({false, std::exchange(literal, {})});
    };
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '{' || text.substr(i, 2) == "{{") {
            if (text[i] == '{') ++i;
            literal += text[i];
            continue;
        }
        const auto end = text.find('}', i);
        if (end == std::string_view::npos || end == i + 1) {
            throw Error(ErrorCode::invalid_argument,
                        "\"" + std::string(text) + "\" must name its columns like {id}");
        }
        end_literal();
        pieces_.push_back({true, std::string(text.substr(i + 1, end - i - 1))});
        i = end;
    }
    end_literal();
}

std::vector<std::string> ColumnText::columns() const {
    std::vector<std::string> names;
    for (const auto& [is_column, text] : pieces_) {
        if (is_column && std::find(names.begin(), names.end(), text) == names.end())
            names.push_back(text);
    }
    return names;
}

std::optional<std::string> ColumnText::fill(const JsonValue& record) const {
    std::string out;
    for (const auto& [is_column, text] : pieces_) {
        if (!is_column) {
            out += text;
            continue;
        }
        const JsonValue* value = find_column(record, text);
        if (value == nullptr) return std::nullopt;
        if (const auto* said = value->string(); said != nullptr && !said->empty()) {
            out += *said;
        } else if (value->is_number() || value->boolean() != nullptr) {
            out += base::to_json(*value);
        } else {
            return std::nullopt;
        }
    }
    return out;
}

std::optional<std::string> to_expiry(const JsonValue& value, bool assume_utc) {
    if (const auto number = value.integer()) return from_epoch(*number);
    if (value.string() == nullptr) return std::nullopt;
    std::string text(*value.string());
    if (const auto number = to_number(text)) return from_epoch(*number);
    if (text.size() < date_and_minute) return std::nullopt;
    if (text[date_bytes] == ' ') text[date_bytes] = 'T';
    // PostgreSQL writes the hours of an offset alone.
    const auto offset = text.find_first_of("+-", date_and_minute);
    if (offset != std::string::npos && text.size() - offset == 3) text += ":00";
    if (offset == std::string::npos && !text.ends_with('Z') && assume_utc) text += 'Z';
    const auto time = base::parse_rfc3339(text);
    if (!time) return std::nullopt;
    return base::to_rfc3339(*time);
}

}  // namespace vault
