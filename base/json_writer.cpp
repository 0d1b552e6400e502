#include <array>
#include <cassert>
#include <charconv>
#include <cmath>

#include "base/encoding.h"
#include "base/json.h"

namespace base {
namespace {

constexpr std::string_view hex_digits = "0123456789abcdef";
constexpr std::string_view replacement_character = "\xEF\xBF\xBD";

bool needs_escape(char c) { return c == '"' || c == '\\' || static_cast<unsigned char>(c) < 0x20; }

// What stands in a JSON string as it is: ASCII that needs no escape.
constexpr std::array<bool, 256> is_plain = [] {
    std::array<bool, 256> plain{};
    for (std::size_t c = 0x20; c < 0x80; ++c) plain[c] = c != '"' && c != '\\';
    return plain;
}();

std::size_t plain_length(std::string_view text) {
    std::size_t length = 0;
    while (length < text.size() && is_plain[static_cast<unsigned char>(text[length])]) ++length;
    return length;
}

void append_escaped(WipedString& out, char c) {
    switch (c) {
        case '"':
            out += "\\\"";
            return;
        case '\\':
            out += "\\\\";
            return;
        case '\b':
            out += "\\b";
            return;
        case '\f':
            out += "\\f";
            return;
        case '\n':
            out += "\\n";
            return;
        case '\r':
            out += "\\r";
            return;
        case '\t':
            out += "\\t";
            return;
        default:
            break;
    }
    const auto code = static_cast<unsigned char>(c);
    out += "\\u00";
    out += hex_digits[code >> 4U];
    out += hex_digits[code & 0x0FU];
}

// Bytes of the UTF-8 sequence that starts `text`; 0 when it is none.
std::size_t sequence_length(std::string_view text) {
    const auto lead = static_cast<unsigned char>(text.front());
    const std::size_t length = lead < 0x80 ? 1 : lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
    return is_utf8(text.substr(0, length)) && length <= text.size() ? length : 0;
}

template <typename Number>
void append_number(WipedString& out, Number value) {
    std::array<char, 40> digits{};
    const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
    out.append(digits.data(), static_cast<std::size_t>(end - digits.data()));
}

}  // namespace

void JsonWriter::append_string(std::string_view value) {
    out_ += '"';
    while (!value.empty()) {
        const std::size_t plain = plain_length(value);
        out_.append(value.substr(0, plain));
        value.remove_prefix(plain);
        if (value.empty()) break;
        if (needs_escape(value.front())) {
            append_escaped(out_, value.front());
            value.remove_prefix(1);
            continue;
        }
        const std::size_t length = sequence_length(value);
        out_.append(length == 0 ? replacement_character : value.substr(0, length));
        value.remove_prefix(length == 0 ? 1 : length);
    }
    out_ += '"';
}

void JsonWriter::new_line() {
    if (style_ == Style::compact) return;
    out_ += '\n';
    out_.append(has_items_.size() * 2, ' ');
}

void JsonWriter::before_value() {
    if (after_name_) {
        after_name_ = false;
        return;
    }
    if (has_items_.empty()) return;
    if (has_items_.back() != 0) out_ += ',';
    has_items_.back() = 1;
    new_line();
}

void JsonWriter::open(char bracket) {
    before_value();
    out_ += bracket;
    has_items_.push_back(0);
}

void JsonWriter::close(char bracket) {
    assert(!has_items_.empty() && !after_name_);
    const bool had_items = has_items_.back() != 0;
    has_items_.pop_back();
    if (had_items) new_line();
    out_ += bracket;
}

JsonWriter& JsonWriter::begin_object() {
    open('{');
    return *this;
}
JsonWriter& JsonWriter::end_object() {
    close('}');
    return *this;
}
JsonWriter& JsonWriter::begin_array() {
    open('[');
    return *this;
}
JsonWriter& JsonWriter::end_array() {
    close(']');
    return *this;
}

JsonWriter& JsonWriter::name(std::string_view name) {
    before_value();
    append_string(name);
    out_ += style_ == Style::compact ? ":" : ": ";
    after_name_ = true;
    return *this;
}

JsonWriter& JsonWriter::null() { return raw("null"); }
JsonWriter& JsonWriter::boolean(bool value) { return raw(value ? "true" : "false"); }

JsonWriter& JsonWriter::integer(std::int64_t value) {
    before_value();
    append_number(out_, value);
    return *this;
}

JsonWriter& JsonWriter::unsigned_integer(std::uint64_t value) {
    before_value();
    append_number(out_, value);
    return *this;
}

JsonWriter& JsonWriter::number(double value) {
    if (!std::isfinite(value)) return null();
    before_value();
    append_number(out_, value);
    return *this;
}

JsonWriter& JsonWriter::string(std::string_view value) {
    before_value();
    append_string(value);
    return *this;
}

JsonWriter& JsonWriter::base64(ByteView bytes) {
    before_value();
    out_ += '"';
    append_base64(out_, bytes);
    out_ += '"';
    return *this;
}

JsonWriter& JsonWriter::raw(std::string_view json) {
    before_value();
    out_.append(json);
    return *this;
}

JsonWriter& JsonWriter::field(std::string_view field_name,
                              const std::map<std::string, std::string>& values) {
    name(field_name).begin_object();
    for (const auto& [key, text] : values) field(key, text);
    return end_object();
}

// Recursion is bounded by the depth limit under which the value was parsed.
JsonWriter& JsonWriter::value(const JsonValue& value) {
    if (value.is_null()) return null();
    if (const auto* flag = value.boolean()) return boolean(*flag);
    if (const auto* text = value.string()) return string(*text);
    if (const auto* number = std::get_if<std::int64_t>(&value.value_)) return integer(*number);
    if (const auto* number = std::get_if<std::uint64_t>(&value.value_))
        return unsigned_integer(*number);
    if (const auto* number = std::get_if<JsonValue::Number>(&value.value_))
        return raw(number->spelling);
    if (const auto* items = value.array()) {
        begin_array();
        for (const auto& item : *items) this->value(item);
        return end_array();
    }
    begin_object();
    for (const auto& member : *value.object()) name(member.name).value(member.value);
    return end_object();
}

WipedString to_json(const JsonValue& value) {
    JsonWriter writer;
    writer.value(value);
    return writer.take();
}

}  // namespace base
