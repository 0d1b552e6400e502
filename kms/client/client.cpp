#include "kms/client/client.h"

#include "kms/client/answer.h"
#include "kms/client/certificates.h"
#include "kms/client/transport.h"

namespace kms {
namespace {

using base::Error;
using base::ErrorCode;
using base::JsonWriter;

constexpr std::size_t max_answer_bytes = 8UL * 1024 * 1024;
constexpr int ok = 200;
constexpr int service_unavailable = 503;

HttpRequest make_request(std::string_view method, std::string_view path, std::string_view body,
                         const CallOptions& options) {
    HttpRequest request;
    request.method = method;
    request.path = path;
    request.body = body;
    request.max_answer_bytes = max_answer_bytes;
    // An order that the service knows again is done once, however often it is sent.
    request.repeatable = options.repeatable || method == "GET" || !options.idempotency_key.empty();
    if (!options.traceparent.empty()) {
        request.headers.emplace_back("traceparent", options.traceparent);
    }
    if (!options.idempotency_key.empty()) {
        request.headers.emplace_back("Idempotency-Key", options.idempotency_key);
    }
    return request;
}

void write_context(JsonWriter& writer, std::string_view name, const EncryptionContext& context) {
    if (!context.empty()) writer.field(name, context);
}

void write_item(JsonWriter& writer, const UnwrapItem& item) {
    writer.name("wrapped").base64(item.wrapped);
    write_context(writer, "context", item.context);
}

void write_item(JsonWriter& writer, const RewrapItem& item) {
    writer.name("wrapped").base64(item.wrapped);
    write_context(writer, "context", item.context);
    if (!item.to_key.empty()) writer.field("to_key", item.to_key);
    // An empty one is said too: it is another than the one that the data key has.
    if (item.to_context) writer.field("to_context", *item.to_context);
}

void write_trace(JsonWriter& writer, const UnwrapItem& item) {
    if (!item.traceparent.empty()) writer.field("traceparent", item.traceparent);
}

void write_trace(JsonWriter& /*writer*/, const RewrapItem& /*item*/) {}

template <typename Item>
JsonWriter one_item(const Item& item) {
    JsonWriter body;
    body.begin_object();
    write_item(body, item);
    body.end_object();
    return body;
}

template <typename Item>
JsonWriter many_items(std::span<const Item> items, bool with_commitment = false) {
    if (items.size() > max_batch_items) {
        throw Error(ErrorCode::invalid_argument,
                    "at most " + std::to_string(max_batch_items) + " items go into one call");
    }
    JsonWriter body;
    body.begin_object();
    if (with_commitment) body.field("commitment", true);
    body.name("items").begin_array();
    for (const Item& item : items) {
        body.begin_object();
        write_item(body, item);
        write_trace(body, item);
        body.end_object();
    }
    body.end_array().end_object();
    return body;
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
    write_context(body, "context", context);
    body.field("bytes", std::uint64_t{bytes}).field("count", std::uint64_t{count});
    body.field("plaintext", with_plaintext).end_object();
    return read_data_keys(post(key_path(key) + "/data-keys", body, Repeat::no, options), count,
                          with_plaintext, transport_->service());
}

base::SecretBytes Client::unwrap(const UnwrapItem& item, const CallOptions& options) {
    const JsonWriter body = one_item(item);
    return read_plaintext(post("/v1/data-keys/unwrap", body, Repeat::yes, options),
                          transport_->service());
}

std::vector<UnwrapResult> Client::unwrap_many(std::span<const UnwrapItem> items,
                                              const CallOptions& options) {
    if (items.empty()) return {};
    const JsonWriter body = many_items(items);
    return read_unwrap_results(post("/v1/data-keys/unwrap", body, Repeat::yes, options),
                               items.size(), transport_->service());
}

Enveloped Client::rewrap(const RewrapItem& item, const CallOptions& options) {
    const JsonWriter body = one_item(item);
    return read_enveloped(post("/v1/data-keys/rewrap", body, Repeat::no, options), "wrapped",
                          transport_->service());
}

std::vector<RewrapResult> Client::rewrap_many(std::span<const RewrapItem> items,
                                              const CallOptions& options) {
    if (items.empty()) return {};
    const JsonWriter body = many_items(items);
    return read_rewrap_results(post("/v1/data-keys/rewrap", body, Repeat::no, options),
                               items.size(), transport_->service());
}

std::vector<RewrapResult> Client::rewrap_committed(std::span<const RewrapItem> items,
                                                   const CallOptions& options) {
    if (items.empty()) return {};
    const JsonWriter body = many_items(items, true);
    return read_committed_results(post("/v1/data-keys/rewrap", body, Repeat::no, options),
                                  items.size(), transport_->service());
}

Enveloped Client::encrypt(std::string_view key, base::ByteView plaintext,
                          const EncryptionContext& context, const CallOptions& options) {
    JsonWriter body;
    body.begin_object().name("plaintext").base64(plaintext);
    write_context(body, "context", context);
    body.end_object();
    return read_enveloped(post(key_path(key) + "/encrypt", body, Repeat::no, options), "ciphertext",
                          transport_->service());
}

base::SecretBytes Client::decrypt(base::ByteView ciphertext, const EncryptionContext& context,
                                  const CallOptions& options) {
    JsonWriter body;
    body.begin_object().name("ciphertext").base64(ciphertext);
    write_context(body, "context", context);
    body.end_object();
    return read_plaintext(post("/v1/decrypt", body, Repeat::yes, options), transport_->service());
}

base::JsonValue Client::post(std::string_view path, const JsonWriter& body, Repeat repeat,
                             const CallOptions& options) {
    HttpRequest request = make_request("POST", path, body.text(), options);
    request.repeatable = repeat == Repeat::yes;
    return parse_answer(transport_->call(request), transport_->service());
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
    Answer answer = send("GET", "/readyz");
    // A node that says no is avoided: the next one is asked.
    for (std::size_t others = transport_->nodes() - 1; others > 0 && answer.status != ok; --others)
        answer = send("GET", "/readyz");
    if (answer.status == service_unavailable) {
        throw Error(ErrorCode::unavailable, transport_->service() + " is not ready: " +
                                                failing_checks(answer, transport_->service()));
    }
    if (answer.status != ok) throw to_error(answer, transport_->service());
}

std::map<std::string, std::string> Client::reload_certificates() {
    return transport_->certificates().reload();
}

}  // namespace kms
