// Parsing. nlohmann/json is used as a SAX parser only: its tree would accept duplicates and lose
// number spellings, and its recursive functions overflow the stack on deep input.
#include "base/json.h"

#include <unordered_set>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/plain_name.h"

namespace base {
namespace {

// The library with wiped strings, so that the lexer's buffer of the decoded token leaves nothing
// behind. One copy stays out of reach: the lexer also keeps the bytes of the token being read, as
// spelled, in a std::vector<char> with the default allocator (token_string), for its messages. That
// vector is cleared for each token and released unwiped.
using WipingJson = nlohmann::basic_json<std::map, std::vector, WipedString, bool, std::int64_t,
                                        std::uint64_t, double, WipingAllocator>;

[[noreturn]] void refuse_text(const std::string& message) {
    throw Error(ErrorCode::invalid_argument, message);
}

class TreeBuilder {
public:
    explicit TreeBuilder(const JsonLimits& limits) : limits_(limits) {}

    bool null() { return add(JsonValue()); }
    bool boolean(bool value) { return add(JsonValue(value)); }
    bool number_integer(std::int64_t value) {
        // The lexer comes here with negative integers only, so a zero was spelled with its sign.
        if (value == 0) return add(JsonValue(JsonValue::Number{"-0"}));
        return add(JsonValue(value));
    }
    bool number_unsigned(std::uint64_t value) { return add(JsonValue(value)); }
    template <typename Text>
    bool number_float(double /*value*/, const Text& spelling) {
        return add(JsonValue(JsonValue::Number{std::string(spelling)}));
    }
    bool string(WipedString& value) { return add(JsonValue(std::move(value))); }
    template <typename Binary>
    bool binary(Binary& /*value*/) {
        return false;
    }
    bool start_object(std::size_t /*size*/) { return open(JsonValue(JsonValue::Object{})); }
    bool start_array(std::size_t /*size*/) { return open(JsonValue(JsonValue::Array{})); }
    bool end_object() { return close(); }
    bool end_array() { return close(); }

    bool key(WipedString& name) {
        Frame& frame = stack_.back();
        const auto& members = *frame.value.object();
        // Small objects are scanned; large ones keep a set, so that a hostile body stays linear.
        if (members.size() < linear_scan_limit) {
            for (const auto& member : members) {
                if (member.name == name) refuse_duplicate(name);
            }
        } else {
            if (frame.names.empty()) {
                for (const auto& member : members) frame.names.emplace(member.name);
            }
        }
        if (!frame.names.empty() && !frame.names.emplace(name).second) refuse_duplicate(name);
        frame.pending_name = std::move(name);
        return true;
    }

    template <typename Text, typename Exception>
    bool parse_error(std::size_t position, const Text& /*token*/, const Exception& /*error*/) {
        refuse_text("the JSON is malformed at byte " + std::to_string(position));
    }

    JsonValue take() { return std::move(root_); }

private:
    static constexpr std::size_t linear_scan_limit = 16;

    struct Frame {
        JsonValue value;
        WipedString pending_name{};
        std::unordered_set<std::string> names{};
    };

    [[noreturn]] static void refuse_duplicate(std::string_view name) {
        refuse_text((is_plain_name(name) ? "\"" + std::string(name) + "\"" : "a name") +
                    " stands twice in one object");
    }

    bool open(JsonValue container) {
        if (stack_.size() >= limits_.depth) {
            refuse_text("the JSON is nested deeper than " + std::to_string(limits_.depth) +
                        " levels");
        }
        stack_.push_back({std::move(container)});
        return true;
    }

    bool close() {
        JsonValue done = std::move(stack_.back().value);
        stack_.pop_back();
        return add(std::move(done));
    }

    bool add(JsonValue value) {
        if (++values_ > limits_.values && limits_.values > 0)
            refuse_text("the JSON has more than " + std::to_string(limits_.values) + " values");
        if (stack_.empty()) {
            root_ = std::move(value);
            return true;
        }
        Frame& frame = stack_.back();
        if (auto* array = frame.value.array()) {
            array->push_back(std::move(value));
        } else {
            frame.value.object()->push_back({std::move(frame.pending_name), std::move(value)});
        }
        return true;
    }

    const JsonLimits& limits_;
    std::vector<Frame> stack_;
    JsonValue root_;
    std::size_t values_ = 0;
};

}  // namespace

JsonValue::JsonValue() = default;
JsonValue::JsonValue(bool value) : value_(value) {}
JsonValue::JsonValue(std::int64_t value) : value_(value) {}
JsonValue::JsonValue(std::uint64_t value) : value_(value) {}
JsonValue::JsonValue(Number value) : value_(std::move(value)) {}
JsonValue::JsonValue(WipedString value) : value_(std::move(value)) {}
JsonValue::JsonValue(Array value) : value_(std::move(value)) {}
JsonValue::JsonValue(Object value) : value_(std::move(value)) {}
JsonValue::JsonValue(const JsonValue& other) = default;
JsonValue::JsonValue(JsonValue&& other) noexcept = default;
JsonValue& JsonValue::operator=(const JsonValue& other) = default;
JsonValue& JsonValue::operator=(JsonValue&& other) noexcept = default;
JsonValue::~JsonValue() = default;

bool JsonValue::is_null() const { return std::holds_alternative<std::monostate>(value_); }
const bool* JsonValue::boolean() const { return std::get_if<bool>(&value_); }
const WipedString* JsonValue::string() const { return std::get_if<WipedString>(&value_); }
const JsonValue::Array* JsonValue::array() const { return std::get_if<Array>(&value_); }
const JsonValue::Object* JsonValue::object() const { return std::get_if<Object>(&value_); }
JsonValue::Array* JsonValue::array() { return std::get_if<Array>(&value_); }
JsonValue::Object* JsonValue::object() { return std::get_if<Object>(&value_); }

std::optional<std::int64_t> JsonValue::integer() const {
    if (const auto* value = std::get_if<std::int64_t>(&value_)) return *value;
    if (const auto* value = std::get_if<std::uint64_t>(&value_)) {
        if (*value <= static_cast<std::uint64_t>(INT64_MAX))
            return static_cast<std::int64_t>(*value);
    }
    return std::nullopt;
}

bool JsonValue::is_number() const {
    return std::holds_alternative<std::int64_t>(value_) ||
           std::holds_alternative<std::uint64_t>(value_) || std::holds_alternative<Number>(value_);
}

const JsonValue* JsonValue::find(std::string_view name) const {
    const auto* members = object();
    if (members == nullptr) return nullptr;
    for (const auto& member : *members) {
        if (member.name == name) return &member.value;
    }
    return nullptr;
}

JsonValue parse_json(std::string_view text, const JsonLimits& limits) {
    if (text.size() > limits.bytes) {
        refuse_text("the JSON is larger than " + std::to_string(limits.bytes) + " bytes");
    }
    if (text.starts_with("\xEF\xBB\xBF")) refuse_text("the JSON starts with a byte order mark");
    TreeBuilder builder(limits);
    try {
        if (!WipingJson::sax_parse(text.begin(), text.end(), &builder,
                                   WipingJson::input_format_t::json, true, limits.comments)) {
            refuse_text("the JSON is malformed");
        }
    } catch (const nlohmann::detail::exception&) {
        refuse_text("the JSON is malformed");
    }
    return builder.take();
}

}  // namespace base
