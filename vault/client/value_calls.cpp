#include "vault/client/value_calls.h"

#include <algorithm>
#include <utility>

namespace vault {
namespace {

using base::Error;
using base::ErrorCode;
using base::JsonReader;
using base::JsonValue;

// What one call may hold (vault/README.md).
constexpr std::size_t max_call_items = 100;
constexpr std::size_t max_call_bytes = 2UL * 1024 * 1024;
constexpr std::string_view call_head = R"({"items":[)";
constexpr std::string_view call_tail = "]}";
constexpr std::size_t max_word_bytes = 1000;

base::WipedString item_text(const GivenValue& given) {
    base::JsonWriter out;
    out.begin_object().name("value").value(*given.value);
    out.field("context", given.context).end_object();
    return out.take();
}

[[noreturn]] void refuse_answer(const std::string& why) {
    throw Error(ErrorCode::internal, "the vault gave an answer that makes no sense", why);
}

// Of a results item: {"error":{"code","message"}}.
std::optional<Error> error_in(const JsonValue& result) {
    const JsonValue* error = result.find("error");
    if (error == nullptr) return std::nullopt;
    JsonReader reader(*error);
    const auto word = reader.required_string("code", max_word_bytes);
    const std::string message(reader.required_string("message", max_word_bytes));
    for (const ErrorCode code :
         {ErrorCode::invalid_argument, ErrorCode::permission_denied, ErrorCode::integrity_failure,
          ErrorCode::failed_precondition, ErrorCode::not_found, ErrorCode::resource_exhausted,
          ErrorCode::unavailable, ErrorCode::quota_check_failed}) {
        if (word == to_string(code)) return Error(code, message);
    }
    return Error(ErrorCode::internal, message);
}

constexpr std::int64_t max_version_number = 0xFFFFFFFF;

void read_result(JsonReader& reader, SealAnswer& out) {
    out.value = reader.required_value("value");
    out.state = reader.required_string("state", max_word_bytes);
    out.key_id = reader.required_string("key_id", max_word_bytes);
    out.key_version =
        static_cast<std::uint32_t>(reader.required_integer("key_version", 1, max_version_number));
}

void read_result(JsonReader& reader, OpenAnswer& out) {
    out.value = reader.required_value("value");
    out.sealed = reader.optional_boolean("sealed").value_or(false);
    out.reseal = reader.optional_boolean("reseal").value_or(false);
    if (!out.sealed) return;
    out.key_id = reader.required_string("key_id", max_word_bytes);
    out.key_version =
        static_cast<std::uint32_t>(reader.required_integer("key_version", 1, max_version_number));
}

template <typename Good>
std::variant<Good, Error> to_result(const JsonValue& item) {
    if (auto error = error_in(item)) return std::move(*error);
    JsonReader reader(item);
    Good good;
    read_result(reader, good);
    return good;
}

Error no_answer() { return {ErrorCode::internal, "the vault gave no answer"}; }

std::string too_deep(std::size_t levels) {
    return "the value is nested deeper than " + std::to_string(levels) + " levels";
}

// The calls of one list, each as full as it may be.
template <typename Good>
class Calls {
public:
    Calls(kms::Client& client, std::string_view path, std::size_t count)
        : client_(client), path_(path), results_(count, no_answer()) {}

    void add(std::size_t position, const GivenValue& given) {
        // Either would have the whole call refused.
        if (is_deeper_than(*given.value, max_value_depth))
            return refuse(position, too_deep(max_value_depth));
        const base::WipedString text = item_text(given);
        const std::size_t room = max_call_bytes - call_head.size() - call_tail.size();
        if (text.size() > room) return refuse(position, "the value is too large");
        if (positions_.size() == max_call_items || items_.size() + 1 + text.size() > room) send();
        if (!positions_.empty()) items_ += ',';
        items_ += text;
        positions_.push_back(position);
    }

    std::vector<std::variant<Good, Error>> finish() {
        send();
        return std::move(results_);
    }

private:
    void refuse(std::size_t position, const std::string& why) {
        const Error error(ErrorCode::invalid_argument, why);
        results_[position] = error;
    }

    void send() {
        if (positions_.empty()) return;
        base::WipedString body(call_head);
        body += items_;
        body += call_tail;
        kms::CallOptions options;
        options.repeatable = true;
        const JsonValue answer = client_.call("POST", path_, body, options);
        try {
            read(answer);
        } catch (const Error& error) {
            if (error.code() == ErrorCode::internal) throw;
            refuse_answer(error.message());
        }
        positions_.clear();
        items_.clear();
    }

    void read(const JsonValue& answer) {
        JsonReader reader(answer);
        const auto& items = reader.required_array("results", positions_.size(), positions_.size());
        for (std::size_t i = 0; i < items.size(); ++i) {
            results_[positions_[i]] = to_result<Good>(items[i]);
        }
    }

    kms::Client& client_;
    const std::string_view path_;
    std::vector<std::variant<Good, Error>> results_;
    std::vector<std::size_t> positions_;  // of what the next call holds
    base::WipedString items_;
};

template <typename Good>
std::vector<std::variant<Good, Error>> call_for_all(kms::Client& client, std::string_view path,
                                                    std::span<const GivenValue> values) {
    Calls<Good> calls(client, path, values.size());
    for (std::size_t i = 0; i < values.size(); ++i) calls.add(i, values[i]);
    return calls.finish();
}

}  // namespace

bool is_deeper_than(const JsonValue& value, std::size_t levels) {
    const auto* items = value.array();
    const auto* members = value.object();
    if (items == nullptr && members == nullptr) return false;
    if (levels == 0) return true;
    if (items != nullptr) {
        return std::any_of(items->begin(), items->end(), [levels](const JsonValue& item) {
            return is_deeper_than(item, levels - 1);
        });
    }
    return std::any_of(members->begin(), members->end(), [levels](const base::JsonMember& member) {
        return is_deeper_than(member.value, levels - 1);
    });
}

std::vector<SealResult> seal_values(kms::Client& client, std::span<const GivenValue> values) {
    return call_for_all<SealAnswer>(client, "/v1/seal", values);
}

std::vector<OpenResult> open_values(kms::Client& client, std::span<const GivenValue> values) {
    return call_for_all<OpenAnswer>(client, "/v1/open", values);
}

}  // namespace vault
