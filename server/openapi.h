// The OpenAPI document of a daemon, made from its route table, so that it can't tell another story.
#pragma once

#include <string_view>

#include "base/json.h"
#include "server/route.h"

namespace server {

// An OpenAPI 3.1.0 document: every route with its summary, path parameters, request body, error
// answers and who may call it. `description`, of the whole, may be empty.
base::JsonWriter openapi_document(const RouteTable& routes, std::string_view title,
                                  std::string_view version, std::string_view description = {});

}  // namespace server
