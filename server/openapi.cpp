#include "server/openapi.h"

#include <algorithm>
#include <array>
#include <map>

namespace server {
namespace {

using base::JsonWriter;

std::string lower_case(std::string_view text) {
    std::string out(text);
    for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    return out;
}

// Unique, since a method and a path are: "post_v1_keys_key_data_keys".
std::string operation_id(const Route& route) {
    std::string id = lower_case(to_string(route.method));
    for (const char c : route.pattern) {
        if (c == '/' || c == '-' || c == '.')
            id += '_';
        else if (c != '{' && c != '}')
            id += c;
    }
    return id;
}

void write_parameters(JsonWriter& out, std::string_view pattern) {
    out.name("parameters").begin_array();
    for (auto open = pattern.find('{'); open != std::string_view::npos;
         open = pattern.find('{', open + 1)) {
        const auto name = pattern.substr(open + 1, pattern.find('}', open) - open - 1);
        out.begin_object().field("name", name).field("in", "path").field("required", true);
        out.name("schema").begin_object().field("type", "string").end_object();
        out.end_object();
    }
    out.end_array();
}

void write_body(JsonWriter& out, const Route& route) {
    out.name("requestBody").begin_object();
    out.field("description", "At most " + std::to_string(route.max_body_bytes) + " bytes.");
    out.name("content").begin_object().name("application/json").begin_object();
    out.name("schema").begin_object().field("type", "object").end_object();
    out.end_object().end_object().end_object();
}

void write_answers(JsonWriter& out, const Route& route) {
    out.name("responses").begin_object();
    out.name("2XX").begin_object().field("description", "Done.").end_object();
    const auto error = [&](std::string_view status) {
        out.name(status).begin_object();
        if (route.error_shape) {
            out.field("description", "Refused or failed, in the shape that its clients know.");
        } else {
            out.field("$ref", "#/components/responses/Error");
        }
        out.end_object();
    };
    if (route.access != Access::open) {
        for (const auto* status : {"400", "401", "403", "404"}) error(status);
    }
    if (route.max_body_bytes != 0) {
        for (const auto* status : {"413", "415"}) error(status);
    }
    error("default");
    out.end_object();
}

void write_route(JsonWriter& out, const Route& route) {
    out.name(lower_case(to_string(route.method))).begin_object();
    out.field("operationId", operation_id(route)).field("summary", route.summary);
    if (!route.action.word.empty()) out.field("x-action", route.action.word);
    write_parameters(out, route.pattern);
    if (route.max_body_bytes != 0) write_body(out, route);
    write_answers(out, route);
    if (route.access == Access::open) out.name("security").begin_array().end_array();
    out.end_object();
}

void write_components(JsonWriter& out) {
    out.name("components").begin_object();
    out.name("securitySchemes").begin_object().name("client_certificate").begin_object();
    out.field("type", "mutualTLS").end_object();
    out.name("bearer").begin_object().field("type", "http").field("scheme", "bearer");
    out.field("description", "An API token, a JWT or another bearer, where they are configured.");
    out.end_object().end_object();
    out.name("responses").begin_object().name("Error").begin_object();
    out.field("description", "Refused or failed.");
    out.name("content").begin_object().name("application/json").begin_object();
    out.name("schema").begin_object().field("$ref", "#/components/schemas/Error").end_object();
    out.end_object().end_object().end_object().end_object();

    out.name("schemas").begin_object().name("Error").begin_object().field("type", "object");
    out.name("required").begin_array().string("error").end_array();
    out.name("properties").begin_object().name("error").begin_object().field("type", "object");
    out.name("required")
        .begin_array()
        .string("code")
        .string("message")
        .string("request_id")
        .end_array();
    out.name("properties").begin_object();
    for (const auto* name : {"code", "message", "request_id"}) {
        out.name(name).begin_object().field("type", "string").end_object();
    }
    out.end_object().end_object().end_object().end_object().end_object();
    out.end_object();
}

}  // namespace

base::JsonWriter openapi_document(const RouteTable& routes, std::string_view title,
                                  std::string_view version, std::string_view description) {
    std::map<std::string_view, std::vector<const Route*>> paths;
    for (const Route& route : routes.routes()) paths[route.pattern].push_back(&route);

    JsonWriter out;
    out.begin_object().field("openapi", "3.1.0");
    out.name("info").begin_object().field("title", title).field("version", version);
    if (!description.empty()) out.field("description", description);
    out.end_object();
    out.name("security").begin_array();  // one of these
    for (const auto* scheme : {"client_certificate", "bearer"}) {
        out.begin_object().name(scheme).begin_array().end_array().end_object();
    }
    out.end_array();
    out.name("paths").begin_object();
    for (const auto& [path, rows] : paths) {
        out.name(path).begin_object();
        for (const Route* route : rows) write_route(out, *route);
        out.end_object();
    }
    out.end_object();
    write_components(out);
    out.end_object();
    return out;
}

}  // namespace server
