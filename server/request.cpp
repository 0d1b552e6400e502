#include "server/request.h"

#include "base/error.h"
#include "base/plain_name.h"
#include "server/percent.h"

namespace server {
namespace {

// More would be no request that any route reads.
constexpr std::size_t max_query_parameters = 32;

[[noreturn]] void refuse_malformed(const std::string& why) {
    throw base::Error(base::ErrorCode::invalid_argument, "the query " + why);
}

}  // namespace

std::string_view to_string(Method method) noexcept {
    switch (method) {
        case Method::GET:
            return "GET";
        case Method::POST:
            return "POST";
        case Method::PUT:
            return "PUT";
        case Method::PATCH:
            return "PATCH";
        case Method::DELETE:
            return "DELETE";
    }
    return "";
}

std::optional<Method> parse_method(std::string_view text) noexcept {
    for (const Method method :
         {Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE}) {
        if (text == to_string(method)) return method;
    }
    return std::nullopt;
}

std::string_view Request::header(std::string_view lower_case_name) const {
    const auto found = headers.find(lower_case_name);
    return found == headers.end() ? std::string_view() : std::string_view(found->second);
}

const std::string& Request::path_parameter(std::string_view name) const {
    const auto found = path_parameters.find(name);
    if (found == path_parameters.end()) {
        throw base::Error(base::ErrorCode::internal, "internal error",
                          "the route has no path parameter " + std::string(name));
    }
    return found->second;
}

std::map<std::string, std::string> Request::query_parameters() const {
    std::map<std::string, std::string> result;
    std::string_view rest = query;
    while (!rest.empty()) {
        const std::string_view pair = rest.substr(0, rest.find('&'));
        rest.remove_prefix(std::min(pair.size() + 1, rest.size()));
        const std::size_t equals = pair.find('=');
        if (equals == std::string_view::npos || equals == 0)
            refuse_malformed("must be name=value pairs joined by '&'");
        auto name = percent_decode(pair.substr(0, equals));
        auto value = percent_decode(pair.substr(equals + 1));
        if (!name || !value)
            refuse_malformed("holds a malformed percent escape or a control character");
        if (!base::is_plain_name(*name))
            refuse_malformed("has a parameter whose name is not known");
        if (result.size() == max_query_parameters) refuse_malformed("has too many parameters");
        if (!result.try_emplace(*name, std::move(*value)).second)
            refuse_malformed("repeats \"" + *name + "\"");
    }
    return result;
}

void refuse_query(const Request& request) {
    const auto parameters = request.query_parameters();
    if (parameters.empty()) return;
    throw base::Error(
        base::ErrorCode::invalid_argument,
        "\"" + parameters.begin()->first + "\" in the query is not a known parameter");
}

}  // namespace server
