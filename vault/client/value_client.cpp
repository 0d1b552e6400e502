#include "vault/client/value_client.h"

#include <algorithm>

#include "base/error.h"
#include "base/secret_bytes.h"
#include "kms/client/client.h"
#include "vault/client/value_calls.h"

namespace vault {
namespace {

// A value at its largest, with room for white space and escapes, and as deep as the vault takes it.
constexpr base::JsonLimits value_limits{.bytes = 1024UL * 1024, .depth = max_value_depth};

kms::ClientConfig to_client_config(ValueClientConfig& config) {
    kms::ClientConfig out;
    out.url = config.url;
    out.socket = config.socket;
    out.ca = config.ca;
    out.certificate = config.certificate;
    out.key = config.key;
    out.bearer_file = config.bearer_file;
    out.deadline = config.deadline;
    out.connect_timeout = std::min(out.connect_timeout, config.deadline);
    out.max_connections = config.max_connections;
    out.service = "the vault";
    return out;
}

ClientError to_client_error(const base::Error& error) {
    return {std::string(to_string(error.code())), error.message(), error.detail()};
}

// Runs `work`; nothing but ClientError leaves the library.
template <typename Work>
auto translated(Work&& work) -> decltype(work()) {
    try {
        return work();
    } catch (const base::Error& error) {
        throw to_client_error(error);
    }
}

SealedText to_text(SealAnswer&& answer) {
    // A text that held a sealed value was given as a JSON text, and comes back as one.
    return {std::string(base::to_json(answer.value)), std::move(answer.state),
            std::move(answer.key_id), answer.key_version};
}

OpenedText to_text(OpenAnswer&& answer) {
    const base::WipedString text = base::to_json(answer.value);
    return {SecretText(text), answer.sealed, answer.reseal, std::move(answer.key_id),
            answer.key_version};
}

template <typename Good, typename Result>
std::vector<std::variant<Good, ClientError>> to_texts(std::vector<Result>&& results) {
    std::vector<std::variant<Good, ClientError>> out;
    out.reserve(results.size());
    for (Result& result : results) {
        if (const auto* error = std::get_if<base::Error>(&result)) {
            out.emplace_back(to_client_error(*error));
        } else {
            out.emplace_back(to_text(std::move(std::get<0>(result))));
        }
    }
    return out;
}

template <typename Good>
Good only_result(std::vector<std::variant<Good, ClientError>>&& results) {
    if (const auto* error = std::get_if<ClientError>(&results.at(0))) throw ClientError(*error);
    return std::move(std::get<Good>(results.front()));
}

}  // namespace

SecretText::SecretText(std::string_view text)
    : text_(std::make_unique<char[]>(text.size())), size_(text.size()) {
    std::copy(text.begin(), text.end(), text_.get());
}

SecretText::SecretText(SecretText&& other) noexcept
    : text_(std::move(other.text_)), size_(std::exchange(other.size_, 0)) {}

SecretText& SecretText::operator=(SecretText&& other) noexcept {
    if (this != &other) {
        if (text_) base::wipe(text_.get(), size_);
        text_ = std::move(other.text_);
        size_ = std::exchange(other.size_, 0);
    }
    return *this;
}

SecretText::~SecretText() {
    if (text_) base::wipe(text_.get(), size_);
}

struct ValueClient::Parts {
    explicit Parts(ValueClientConfig& config)
        : context(config.context), client(to_client_config(config)) {}

    // The values as they are sent; they live in `parsed`.
    std::vector<GivenValue> read(const std::vector<ValueItem>& items,
                                 std::vector<base::JsonValue>& parsed) const {
        std::vector<GivenValue> given;
        parsed.reserve(items.size());  // so that none moves
        given.reserve(items.size());
        for (const auto& [value, own_context] : items) {
            parsed.push_back(base::parse_json(value, value_limits));
            given.push_back(
                {&parsed.back(), own_context.empty() ? context : std::string(own_context)});
        }
        return given;
    }

    const std::string context;
    kms::Client client;
};

ValueClient::ValueClient(ValueClientConfig config)
    : parts_(translated([&] { return std::make_unique<Parts>(config); })) {}

ValueClient::~ValueClient() = default;

std::string ValueClient::encrypt_credentials(std::string_view value, std::string_view context) {
    return seal(value, context).value;
}

SecretText ValueClient::decrypt_credentials(std::string_view value, std::string_view context) {
    return open(value, context).value;
}

SealedText ValueClient::seal(std::string_view value, std::string_view context) {
    return only_result(seal_many({{value, context}}));
}

OpenedText ValueClient::open(std::string_view value, std::string_view context) {
    return only_result(open_many({{value, context}}));
}

std::vector<SealOneResult> ValueClient::seal_many(const std::vector<ValueItem>& items) {
    return translated([&] {
        std::vector<base::JsonValue> parsed;
        const auto given = parts_->read(items, parsed);
        return to_texts<SealedText>(seal_values(parts_->client, given));
    });
}

std::vector<OpenOneResult> ValueClient::open_many(const std::vector<ValueItem>& items) {
    return translated([&] {
        std::vector<base::JsonValue> parsed;
        const auto given = parts_->read(items, parsed);
        return to_texts<OpenedText>(open_values(parts_->client, given));
    });
}

std::map<std::string, std::string> ValueClient::reload_certificates() {
    return translated([&] { return parts_->client.reload_certificates(); });
}

}  // namespace vault
