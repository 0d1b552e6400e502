#include "vault/request_body.h"

#include "base/error.h"

namespace vault {

base::JsonValue read_body(const server::Request& request, std::size_t max_bytes,
                          std::size_t max_depth) {
    const std::string_view type = request.header("content-type");
    const std::string_view media_type = type.substr(0, type.find_first_of("; \t"));
    if (!type.empty() && media_type != "application/json") {
        throw base::Error(base::ErrorCode::unsupported_media_type,
                          "the body must be application/json");
    }
    return base::parse_json(request.body,
                            {.bytes = max_bytes, .depth = max_depth, .comments = false});
}

}  // namespace vault
