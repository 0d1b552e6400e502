// The grammar of a request's head, stricter than HTTP/1.1 wherever laxness has been used for
// smuggling: what two readers could understand differently is refused. Private to server/edge*.cpp.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "server/request.h"

namespace server {

inline constexpr std::size_t max_header_count = 64;
inline constexpr std::size_t max_target_bytes = 8UL * 1024;

struct Head {
    Request request;  // without body
    std::size_t content_length = 0;
    bool keep_alive = true;
    bool expects_continue = false;
};

// Reads a complete head, up to and with the empty line. `head` is filled as far as reading came, so
// that a refusal can be recorded with what is known. After any error the connection must be closed:
// where the next request starts is not known any more. Throws
//   invalid_argument         grammar: control bytes, folding, target, Host, Content-Length that is
//                            repeated or no number, any Transfer-Encoding, a body on GET or DELETE
//   method_not_allowed       a method that is none of the house's
//   header_fields_too_large  more headers than max_header_count
//   unsupported_media_type   a Content-Encoding
void parse_head(std::string_view bytes, Head& head);

// The answer as it goes over the wire; the body's bytes are in it. `date` is the value of Date.
// Headers with bytes that HTTP forbids are left out.
base::WipedString serialize(const Response& response, bool keep_alive, std::string_view date);

}  // namespace server
