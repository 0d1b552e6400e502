#include "vault/compat/config.h"

#include <set>

#include "base/error.h"
#include "server/config.h"
#include "server/https_client.h"

namespace vault::compat {
namespace {

using base::JsonReader;

constexpr std::size_t max_endpoints = 32;
constexpr std::size_t max_field_bytes = 64;
constexpr std::size_t max_endpoint_bytes = 512;

std::string read_name(JsonReader& reader, std::string_view field, const std::string& standard) {
    std::string name(reader.optional_string(field, max_name_bytes).value_or(standard));
    if (!name.empty() && !is_safe_name(name)) {
        reader.refuse(field, "must be of letters, digits and characters of ._-:@+=,~");
    }
    return name;
}

DirectusConfig read_directus(JsonReader reader, const std::filesystem::path& folder) {
    DirectusConfig config;
    config.https.url = reader.required_string("url", max_endpoint_bytes);
    if (reader.has("ca")) config.https.ca = server::required_path(reader, "ca", folder);
    // A sealed value as a text within JSON, and what else stands around it.
    config.https.max_bytes = 256UL * 1024;
    try {
        const server::HttpsClient checked({config.https.url, {}});
    } catch (const base::Error& error) {
        reader.refuse("url", error.message());
    }
    config.collection = reader.required_string("collection", max_field_bytes);
    if (!is_safe_name(config.collection))
        reader.refuse("collection", "must be of letters, digits and characters of ._-:@+=,~");
    config.token = server::read_secret_source(reader, "token", folder);
    if (config.token.file.empty()) reader.refuse("token", "must be in a file");
    config.https.deadline = std::chrono::milliseconds(
        reader.optional_integer("deadline_ms", 50, 10'000).value_or(config.https.deadline.count()));
    config.max_concurrent =
        static_cast<std::size_t>(reader.optional_integer("max_concurrent", 1, 1024)
                                     .value_or(static_cast<std::int64_t>(config.max_concurrent)));
    config.reads_back = reader.optional_boolean("read_back").value_or(false);
    reader.refuse_unknown();
    return config;
}

SharedSecretConfig read_shared_secret(JsonReader reader, const std::filesystem::path& folder) {
    SharedSecretConfig config;
    config.name = read_name(reader, "name", config.name);
    config.download_field =
        reader.optional_string("download_field", max_field_bytes).value_or(config.download_field);
    config.session_field =
        reader.optional_string("session_field", max_field_bytes).value_or(config.session_field);
    if (auto directus = reader.optional_object("directus"))
        config.directus = read_directus(std::move(*directus), folder);
    reader.refuse_unknown();
    return config;
}

TokenEndpointConfig read_endpoint(JsonReader reader, const std::filesystem::path& folder) {
    TokenEndpointConfig config;
    config.https.url = reader.required_string("url", max_endpoint_bytes);
    if (reader.has("ca")) config.https.ca = server::required_path(reader, "ca", folder);
    try {
        const server::HttpsClient checked({config.https.url, {}});
    } catch (const base::Error& error) {
        reader.refuse("url", error.message());
    }
    const auto word = reader.optional_string("client_authentication", 16).value_or("basic");
    if (word != "basic" && word != "body") {
        reader.refuse("client_authentication", "must be \"basic\" or \"body\"");
    }
    config.secret_in_body = word == "body";
    reader.refuse_unknown();
    return config;
}

RefreshConfig read_refresh(JsonReader reader, const std::filesystem::path& folder) {
    RefreshConfig config;
    const auto& items = reader.required_array("endpoints", max_endpoints);
    std::set<std::string> urls;
    for (std::size_t i = 0; i < items.size(); ++i) {
        config.endpoints.push_back(
            read_endpoint(JsonReader(items[i], reader.item_path("endpoints", i)), folder));
        if (!urls.insert(config.endpoints.back().https.url).second) {
            reader.refuse("endpoints", "names one twice");
        }
    }
    config.deadline = std::chrono::milliseconds(
        reader.optional_integer("deadline_ms", 50, 30'000).value_or(config.deadline.count()));
    config.max_concurrent =
        static_cast<std::size_t>(reader.optional_integer("max_concurrent", 1, 1024)
                                     .value_or(static_cast<std::int64_t>(config.max_concurrent)));
    config.pause = std::chrono::seconds(
        reader.optional_integer("pause_seconds", 1, 3600).value_or(config.pause.count()));
    reader.refuse_unknown();
    return config;
}

BrokerConfig read_broker(JsonReader reader, const std::filesystem::path& folder) {
    BrokerConfig config;
    config.owner = read_name(reader, "owner", config.owner);
    config.default_client = read_name(reader, "default_client", {});
    if (auto refresh = reader.optional_object("refresh")) {
        config.refresh = read_refresh(std::move(*refresh), folder);
    }
    reader.refuse_unknown();
    return config;
}

}  // namespace

Config read_config(JsonReader& top, const std::filesystem::path& folder) {
    Config config;
    auto reader = top.optional_object("compat");
    if (!reader) return config;
    if (auto shape = reader->optional_object("shared_secret")) {
        config.shared_secret = read_shared_secret(std::move(*shape), folder);
    }
    if (auto shape = reader->optional_object("broker")) {
        config.broker = read_broker(std::move(*shape), folder);
    }
    reader->refuse_unknown();
    return config;
}

void check_files(const Config& config) {
    if (config.shared_secret && config.shared_secret->directus)
        const DirectusItems checked(*config.shared_secret->directus, config.shared_secret->name);
    if (!config.broker) return;
    for (const TokenEndpointConfig& each : config.broker->refresh.endpoints) {
        const server::HttpsClient checked(each.https);
    }
}

}  // namespace vault::compat
