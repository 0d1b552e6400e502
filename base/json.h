// The one gate through which JSON comes in, and the one way it goes out. The gate is strict:
// bounded size and depth, duplicate names refused, exact types, unknown fields refused, no comments
// unless asked for. No JSON library type is visible outside base/json.cpp.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/secret_bytes.h"
#include "base/uuid.h"

namespace base {

struct JsonLimits {
    std::size_t bytes = 64UL * 1024;
    std::size_t depth = 16;
    // Values in all, nested ones counted. A tree takes some forty bytes for each, where the text
    // may have spent two. 0: as many as the text has.
    std::size_t values = 0;
    bool comments = false;  // "//" and "/* */", for configuration and policy files only
};

struct JsonMember;

// A parsed value. Members keep their order and numbers their spelling, so that writing a value back
// gives the same content. Text sits in wiped memory, since bodies carry secrets. A value type.
class JsonValue {
public:
    using Array = std::vector<JsonValue>;
    using Object = std::vector<JsonMember>;
    // A number that is no 64-bit integer, as it was spelled.
    struct Number {
        std::string spelling;
    };

    // Defined in json.cpp, where JsonMember is complete.
    JsonValue();  // null
    explicit JsonValue(bool value);
    explicit JsonValue(std::int64_t value);
    explicit JsonValue(std::uint64_t value);
    explicit JsonValue(Number value);
    explicit JsonValue(WipedString value);
    explicit JsonValue(Array value);
    explicit JsonValue(Object value);
    JsonValue(const JsonValue& other);
    JsonValue(JsonValue&& other) noexcept;
    JsonValue& operator=(const JsonValue& other);
    JsonValue& operator=(JsonValue&& other) noexcept;
    ~JsonValue();

    bool is_null() const;
    // Each is null when the value is of another type.
    const bool* boolean() const;
    const WipedString* string() const;
    const Array* array() const;
    const Object* object() const;
    Array* array();
    Object* object();
    // Empty unless the value is an integer in the range of int64.
    std::optional<std::int64_t> integer() const;
    bool is_number() const;

    // The member of that name; null when there is none or this is no object.
    const JsonValue* find(std::string_view name) const;

private:
    friend class JsonWriter;
    std::variant<std::monostate, bool, std::int64_t, std::uint64_t, Number, WipedString, Array,
                 Object>
        value_;
};

struct JsonMember {
    WipedString name;
    JsonValue value;
};

// Throws invalid_argument with a message for the caller: what is wrong and at which byte.
JsonValue parse_json(std::string_view text, const JsonLimits& limits = {});

// Reads one object field by field; every complaint names the field by its path, e.g.
// `"items[3].context" must be an object of strings`. Take what may be there, then call
// refuse_unknown(). All functions throw invalid_argument. Views point into the value read.
class JsonReader {
public:
    // `path` is empty for the top of a document. Throws when `value` is not an object.
    explicit JsonReader(const JsonValue& value, std::string path = {});

    bool has(std::string_view name) const;  // also marks it as known

    std::string_view required_string(std::string_view name, std::size_t max_bytes,
                                     std::size_t min_bytes = 1);
    std::optional<std::string_view> optional_string(std::string_view name, std::size_t max_bytes,
                                                    std::size_t min_bytes = 1);
    std::int64_t required_integer(std::string_view name, std::int64_t min, std::int64_t max);
    std::optional<std::int64_t> optional_integer(std::string_view name, std::int64_t min,
                                                 std::int64_t max);
    std::optional<bool> optional_boolean(std::string_view name);
    Uuid required_uuid(std::string_view name);
    // Canonical base64 of min_bytes to max_bytes.
    Bytes required_base64(std::string_view name, std::size_t max_bytes, std::size_t min_bytes = 1);
    std::optional<Bytes> optional_base64(std::string_view name, std::size_t max_bytes,
                                         std::size_t min_bytes = 1);
    // Any value, as it is.
    const JsonValue& required_value(std::string_view name);
    const JsonValue* optional_value(std::string_view name);
    JsonReader required_object(std::string_view name);
    std::optional<JsonReader> optional_object(std::string_view name);
    // The items and, by item_path(), a name for each in messages.
    const JsonValue::Array& required_array(std::string_view name, std::size_t max_items,
                                           std::size_t min_items = 1);
    const JsonValue::Array* optional_array(std::string_view name, std::size_t max_items,
                                           std::size_t min_items = 0);
    std::vector<std::string> optional_string_array(std::string_view name, std::size_t max_items,
                                                   std::size_t max_bytes);
    // An object whose values are all strings. Absent and empty are the same.
    std::map<std::string, std::string> optional_string_map(std::string_view name,
                                                           std::size_t max_entries,
                                                           std::size_t max_total_bytes);

    // The full path of a field, or of an item of an array field: for messages of the caller's own
    // checks.
    std::string path_of(std::string_view name) const;
    std::string item_path(std::string_view name, std::size_t index) const;
    // Throws invalid_argument: `"<path>" <complaint>`.
    [[noreturn]] void refuse(std::string_view name, std::string_view complaint) const;

    // The names that were present, in order; marks nothing.
    const JsonValue::Object& members() const { return *object_; }

    // Throws naming the first field that nobody asked for.
    void refuse_unknown() const;

private:
    const JsonValue* take(std::string_view name);
    const JsonValue& take_required(std::string_view name);

    const JsonValue::Object* object_;
    std::string path_;
    mutable std::vector<std::string> known_;  // the names that somebody asked for
};

// Writes JSON into wiped memory, without a tree in between. Well-formed nesting is the caller's
// duty (asserted in debug builds). Text that is no UTF-8 comes out with U+FFFD in place. Not
// thread-safe.
class JsonWriter {
public:
    enum class Style { compact, indented };
    // `expected_bytes` is room that is taken at once.
    explicit JsonWriter(Style style = Style::compact, std::size_t expected_bytes = 512)
        : style_(style) {
        out_.reserve(expected_bytes);
    }

    JsonWriter& begin_object();
    JsonWriter& end_object();
    JsonWriter& begin_array();
    JsonWriter& end_array();
    JsonWriter& name(std::string_view name);

    JsonWriter& null();
    JsonWriter& boolean(bool value);
    JsonWriter& integer(std::int64_t value);
    JsonWriter& unsigned_integer(std::uint64_t value);
    JsonWriter& number(double value);
    JsonWriter& string(std::string_view value);
    JsonWriter& base64(ByteView bytes);
    JsonWriter& value(const JsonValue& value);
    // Text that is a complete JSON value already; not checked.
    JsonWriter& raw(std::string_view json);

    // A named value, in one call.
    JsonWriter& field(std::string_view field_name, std::string_view value) {
        return name(field_name).string(value);
    }
    JsonWriter& field(std::string_view field_name, const char* value) {
        return name(field_name).string(value);
    }
    JsonWriter& field(std::string_view field_name, bool value) {
        return name(field_name).boolean(value);
    }
    JsonWriter& field(std::string_view field_name, std::int64_t value) {
        return name(field_name).integer(value);
    }
    JsonWriter& field(std::string_view field_name, std::uint32_t value) {
        return name(field_name).unsigned_integer(value);
    }
    JsonWriter& field(std::string_view field_name, std::uint64_t value) {
        return name(field_name).unsigned_integer(value);
    }
    JsonWriter& field(std::string_view field_name,
                      const std::map<std::string, std::string>& values);

    const WipedString& text() const { return out_; }
    WipedString take() { return std::move(out_); }

private:
    void before_value();
    void new_line();
    void append_string(std::string_view value);
    void open(char bracket);
    void close(char bracket);

    Style style_;
    WipedString out_;
    std::string has_items_;  // a 0 or 1 for each open bracket; few need no memory of their own
    bool after_name_ = false;
};

// `value` in compact form.
WipedString to_json(const JsonValue& value);

}  // namespace base
