#include "kms/client/client.h"

#include "kms/client/answer.h"
#include "kms/client/transport.h"

namespace kms {
namespace {

using base::Error;
using base::ErrorCode;
using base::JsonWriter;

constexpr std::size_t max_answer_bytes = 8UL * 1024 * 1024;
constexpr std::size_t max_items = 100;
constexpr int ok = 200;
constexpr int service_unavailable = 503;

HttpRequest make_request(std::string_view method, std::string_view path, std::string_view body,
                         const CallOptions& options) {
    HttpRequest request;
    request.method = method;
    request.path = path;
    request.body = body;
    request.max_answer_bytes = max_answer_bytes;
    request.repeatable = method == "GET";
    if (!options.traceparent.empty()) {
        request.headers.emplace_back("traceparent", options.traceparent);
    }
    if (!options.idempotency_key.empty()) {
        request.headers.emplace_back("Idempotency-Key", options.idempotency_key);
    }
    return request;
}

void write_item(JsonWriter& writer, const UnwrapItem& item) {
    writer.name("wrapped").base64(item.wrapped);
    if (!item.context.empty()) writer.field("context", item.context);
}

// The names of the checks that fail, for people: "token, store".
std::string failing_checks(const Answer& answer, const std::string& service) {
    std::string names;
    base::JsonValue body;
    try {
        body = base::parse_json(answer.body);
    } catch (const Error&) {
        throw to_error(answer, service);
    }
    const base::JsonValue* checks = body.find("checks");
    if (checks == nullptr || checks->object() == nullptr) throw to_error(answer, service);
    for (const auto& [name, state] : *checks->object()) {
        const bool fine = state.string() != nullptr && *state.string() == "ok";
        if (!fine) names.append(names.empty() ? "" : ", ").append(name);
    }
    return names;
}

}  // namespace

std::string path_segment(std::string_view text) {
    constexpr std::string_view unreserved =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    constexpr std::string_view digits = "0123456789ABCDEF";
    std::string out;
    for (const char c : text) {
        if (unreserved.find(c) != std::string_view::npos) {
            out += c;
        } else {
            const auto byte = static_cast<unsigned char>(c);
            out += {'%', digits[byte >> 4U], digits[byte & 15U]};
        }
    }
    return out;
}

std::string key_path(std::string_view key) {
    constexpr std::string_view alias = "alias/";
    if (key.starts_with(alias)) {
        return "/v1/keys/alias/" + path_segment(key.substr(alias.size()));
    }
    return "/v1/keys/" + path_segment(key);
}

Client::Client(ClientConfig config) : transport_(std::make_unique<Transport>(std::move(config))) {}
Client::~Client() = default;

std::vector<DataKey> Client::create_data_keys(std::string_view key,
                                              const EncryptionContext& context, std::size_t bytes,
                                              std::size_t count, bool with_plaintext,
                                              const CallOptions& options) {
    JsonWriter body;
    body.begin_object();
    if (!context.empty()) body.field("context", context);
    body.field("bytes", std::uint64_t{bytes}).field("count", std::uint64_t{count});
    body.field("plaintext", with_plaintext).end_object();
    const auto answer =
        transport_->call(make_request("POST", key_path(key) + "/data-keys", body.text(), options));
    const std::string& service = transport_->service();
    return read_data_keys(parse_answer(answer, service), count, with_plaintext, service);
}

base::SecretBytes Client::unwrap(const UnwrapItem& item, const CallOptions& options) {
    JsonWriter body;
    body.begin_object();
    write_item(body, item);
    body.end_object();
    HttpRequest request = make_request("POST", "/v1/data-keys/unwrap", body.text(), options);
    request.repeatable = true;
    const Answer answer = transport_->call(request);
    return read_plaintext(parse_answer(answer, transport_->service()), transport_->service());
}

std::vector<UnwrapResult> Client::unwrap_many(std::span<const UnwrapItem> items,
                                              const CallOptions& options) {
    if (items.empty()) return {};
    if (items.size() > max_items) {
        throw Error(ErrorCode::invalid_argument,
                    "at most 100 data keys can be unwrapped in one call");
    }
    JsonWriter body;
    body.begin_object().name("items").begin_array();
    for (const UnwrapItem& item : items) {
        body.begin_object();
        write_item(body, item);
        body.end_object();
    }
    body.end_array().end_object();
    HttpRequest request = make_request("POST", "/v1/data-keys/unwrap", body.text(), options);
    request.repeatable = true;
    const Answer answer = transport_->call(request);
    const std::string& service = transport_->service();
    return read_unwrap_results(parse_answer(answer, service), items.size(), service);
}

base::JsonValue Client::call(std::string_view method, std::string_view path, std::string_view body,
                             const CallOptions& options) {
    const Answer answer = transport_->call(make_request(method, path, body, options));
    return parse_answer(answer, transport_->service());
}

std::string Client::get_text(std::string_view path) {
    const Answer answer = transport_->call(make_request("GET", path, {}, {}));
    if (answer.status != ok) throw to_error(answer, transport_->service());
    return std::string(answer.body);
}

Answer Client::send(std::string_view method, std::string_view path, std::string_view body,
                    const CallOptions& options) {
    HttpRequest request = make_request(method, path, body, options);
    request.repeatable = false;
    return transport_->call(request);
}

void Client::check_ready() {
    const Answer answer = send("GET", "/readyz");
    if (answer.status == service_unavailable) {
        throw Error(ErrorCode::unavailable, transport_->service() + " is not ready: " +
                                                failing_checks(answer, transport_->service()));
    }
    if (answer.status != ok) throw to_error(answer, transport_->service());
}

}  // namespace kms
