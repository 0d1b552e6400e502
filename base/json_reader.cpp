#include <algorithm>

#include "base/encoding.h"
#include "base/error.h"
#include "base/json.h"
#include "base/plain_name.h"

namespace base {
namespace {

std::string size_rule(std::size_t min, std::size_t max, std::string_view unit) {
    return std::to_string(min) + " to " + std::to_string(max) + " " + std::string(unit);
}

[[noreturn]] void refuse_path(const std::string& path, std::string_view complaint) {
    throw Error(ErrorCode::invalid_argument, "\"" + path + "\" " + std::string(complaint));
}

}  // namespace

JsonReader::JsonReader(const JsonValue& value, std::string path)
    : object_(value.object()), path_(std::move(path)) {
    if (object_ == nullptr) {
        if (path_.empty()) throw Error(ErrorCode::invalid_argument, "the JSON must be an object");
        refuse_path(path_, "must be an object");
    }
}

std::string JsonReader::path_of(std::string_view name) const {
    return path_.empty() ? std::string(name) : path_ + "." + std::string(name);
}

std::string JsonReader::item_path(std::string_view name, std::size_t index) const {
    return path_of(name) + "[" + std::to_string(index) + "]";
}

void JsonReader::refuse(std::string_view name, std::string_view complaint) const {
    refuse_path(path_of(name), complaint);
}

const JsonValue* JsonReader::take(std::string_view name) {
    known_.emplace_back(name);
    const auto found = std::find_if(object_->begin(), object_->end(),
                                    [&](const auto& member) { return member.name == name; });
    return found == object_->end() ? nullptr : &found->value;
}

bool JsonReader::has(std::string_view name) const {
    known_.emplace_back(name);
    return std::any_of(object_->begin(), object_->end(),
                       [&](const auto& member) { return member.name == name; });
}

const JsonValue& JsonReader::take_required(std::string_view name) {
    const JsonValue* value = take(name);
    if (value == nullptr) refuse(name, "is missing");
    return *value;
}

std::optional<std::string_view> JsonReader::optional_string(std::string_view name,
                                                            std::size_t max_bytes,
                                                            std::size_t min_bytes) {
    const JsonValue* value = take(name);
    if (value == nullptr) return std::nullopt;
    const WipedString* text = value->string();
    if (text == nullptr) refuse(name, "must be a string");
    if (text->size() < min_bytes || text->size() > max_bytes) {
        refuse(name, "must have " + size_rule(min_bytes, max_bytes, "bytes"));
    }
    return *text;
}

std::string_view JsonReader::required_string(std::string_view name, std::size_t max_bytes,
                                             std::size_t min_bytes) {
    take_required(name);
    return *optional_string(name, max_bytes, min_bytes);
}

std::optional<std::int64_t> JsonReader::optional_integer(std::string_view name, std::int64_t min,
                                                         std::int64_t max) {
    const JsonValue* value = take(name);
    if (value == nullptr) return std::nullopt;
    const auto number = value->integer();
    if (!number || *number < min || *number > max) {
        refuse(name,
               "must be an integer from " + std::to_string(min) + " to " + std::to_string(max));
    }
    return number;
}

std::int64_t JsonReader::required_integer(std::string_view name, std::int64_t min,
                                          std::int64_t max) {
    take_required(name);
    return *optional_integer(name, min, max);
}

std::optional<bool> JsonReader::optional_boolean(std::string_view name) {
    const JsonValue* value = take(name);
    if (value == nullptr) return std::nullopt;
    if (value->boolean() == nullptr) refuse(name, "must be true or false");
    return *value->boolean();
}

Uuid JsonReader::required_uuid(std::string_view name) {
    const auto id = Uuid::parse(required_string(name, 64));
    if (!id) refuse(name, "must be a UUID in lower case");
    return *id;
}

std::optional<Bytes> JsonReader::optional_base64(std::string_view name, std::size_t max_bytes,
                                                 std::size_t min_bytes) {
    const JsonValue* value = take(name);
    if (value == nullptr) return std::nullopt;
    const WipedString* text = value->string();
    if (text == nullptr) refuse(name, "must be a base64 string");
    auto bytes = parse_base64(*text);
    if (!bytes) refuse(name, "must be canonical base64 with padding");
    if (bytes->size() < min_bytes || bytes->size() > max_bytes) {
        refuse(name, "must be base64 of " + size_rule(min_bytes, max_bytes, "bytes"));
    }
    return bytes;
}

Bytes JsonReader::required_base64(std::string_view name, std::size_t max_bytes,
                                  std::size_t min_bytes) {
    take_required(name);
    return *optional_base64(name, max_bytes, min_bytes);
}

const JsonValue& JsonReader::required_value(std::string_view name) { return take_required(name); }

const JsonValue* JsonReader::optional_value(std::string_view name) { return take(name); }

JsonReader JsonReader::required_object(std::string_view name) {
    return JsonReader(take_required(name), path_of(name));
}

std::optional<JsonReader> JsonReader::optional_object(std::string_view name) {
    const JsonValue* value = take(name);
    if (value == nullptr) return std::nullopt;
    return JsonReader(*value, path_of(name));
}

const JsonValue::Array* JsonReader::optional_array(std::string_view name, std::size_t max_items,
                                                   std::size_t min_items) {
    const JsonValue* value = take(name);
    if (value == nullptr) return nullptr;
    const JsonValue::Array* items = value->array();
    if (items == nullptr) refuse(name, "must be an array");
    if (items->size() < min_items || items->size() > max_items) {
        refuse(name, "must have " + size_rule(min_items, max_items, "items"));
    }
    return items;
}

const JsonValue::Array& JsonReader::required_array(std::string_view name, std::size_t max_items,
                                                   std::size_t min_items) {
    take_required(name);
    return *optional_array(name, max_items, min_items);
}

std::vector<std::string> JsonReader::optional_string_array(std::string_view name,
                                                           std::size_t max_items,
                                                           std::size_t max_bytes) {
    std::vector<std::string> texts;
    const auto* items = optional_array(name, max_items);
    if (items == nullptr) return texts;
    for (std::size_t i = 0; i < items->size(); ++i) {
        const WipedString* text = (*items)[i].string();
        if (text == nullptr || text->empty() || text->size() > max_bytes) {
            refuse_path(item_path(name, i),
                        "must be a string of " + size_rule(1, max_bytes, "bytes"));
        }
        texts.emplace_back(*text);
    }
    return texts;
}

std::map<std::string, std::string> JsonReader::optional_string_map(std::string_view name,
                                                                   std::size_t max_entries,
                                                                   std::size_t max_total_bytes) {
    std::map<std::string, std::string> entries;
    const JsonValue* value = take(name);
    if (value == nullptr) return entries;
    const JsonValue::Object* members = value->object();
    if (members == nullptr) refuse(name, "must be an object of strings");
    if (members->size() > max_entries) {
        refuse(name, "must have at most " + std::to_string(max_entries) + " entries");
    }
    std::size_t total = 0;
    for (const auto& member : *members) {
        const WipedString* text = member.value.string();
        if (text == nullptr) {
            if (!is_plain_name(member.name)) refuse(name, "must hold strings only");
            refuse_path(path_of(name) + "." + std::string(member.name), "must be a string");
        }
        total += member.name.size() + text->size();
        entries.emplace(std::string(member.name), std::string(*text));
    }
    if (total > max_total_bytes)
        refuse(name, "must have at most " + std::to_string(max_total_bytes) + " bytes in all");
    return entries;
}

void JsonReader::refuse_unknown() const {
    std::sort(known_.begin(), known_.end());
    for (const auto& member : *object_) {
        if (std::binary_search(known_.begin(), known_.end(), std::string_view(member.name)))
            continue;
        if (is_plain_name(member.name)) refuse(member.name, "is not a known field");
        throw Error(ErrorCode::invalid_argument,
                    (path_.empty() ? "the JSON" : "\"" + path_ + "\"") +
                        std::string(" has a field whose name is not known"));
    }
}

}  // namespace base
