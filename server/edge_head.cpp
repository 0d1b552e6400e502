#include "server/edge_head.h"

#include <algorithm>
#include <array>
#include <boost/beast/core/string.hpp>
#include <boost/beast/http/basic_parser.hpp>
#include <boost/beast/http/status.hpp>
#include <charconv>

#include "base/error.h"

namespace server {

namespace {

namespace http = boost::beast::http;
using BeastView = boost::beast::string_view;
using BeastError = boost::beast::error_code;

[[noreturn]] void refuse(const char* message) {
    throw base::Error(base::ErrorCode::invalid_argument, message);
}

std::string lower_case(BeastView text) {
    std::string result(text.size(), '\0');
    std::transform(text.begin(), text.end(), result.begin(), [](char c) {
        return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    });
    return result;
}

// Lists may stand in several lines (RFC 9110 5.3). Everything else means one thing only when it
// stands once: also headers whose names the configuration gives, which may prove who is calling.
bool may_repeat(std::string_view name) {
    static constexpr std::array<std::string_view, 9> lists = {
        "cache-control", "connection", "cookie", "forwarded", "pragma", "te",
        "tracestate",    "via",        "warning"};
    return name.starts_with("accept") || name.starts_with("x-forwarded-") ||
           std::find(lists.begin(), lists.end(), name) != lists.end();
}

// Beast reads the grammar; what it lets through and two readers could take differently is refused
// here: bytes outside printable ASCII, bare CR or LF, folded lines.
void check_bytes(std::string_view bytes) {
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        const auto byte = static_cast<unsigned char>(bytes[i]);
        if (byte == '\r') {
            if (i + 1 == bytes.size() || bytes[i + 1] != '\n') refuse("the head has a bare CR");
        } else if (byte == '\n') {
            if (i == 0 || bytes[i - 1] != '\r') refuse("the head has a bare LF");
            if (i + 1 < bytes.size() && (bytes[i + 1] == ' ' || bytes[i + 1] == '\t')) {
                refuse("the head has a folded header line");
            }
        } else if ((byte < 0x20 && byte != '\t') || byte >= 0x7f) {
            refuse("the head has a byte outside printable ASCII");
        }
    }
}

// Fills a Head from Beast's callbacks. Throws through the parser, which is dropped then.
class HeadParser final : public http::basic_parser<true> {
public:
    explicit HeadParser(Head& head) : head_(head) {}

    bool http_1_0() const { return http_1_0_; }

private:
    void on_request_impl(http::verb /*verb*/, BeastView method, BeastView target, int version,
                         BeastError& /*error*/) override {
        http_1_0_ = version == 10;
        read_target(target);
        const auto known = server::parse_method({method.data(), method.size()});
        if (!known) {
            throw base::Error(base::ErrorCode::method_not_allowed, "the method is not supported");
        }
        head_.request.method = *known;
    }

    void on_field_impl(http::field /*field*/, BeastView name, BeastView value,
                       BeastError& /*error*/) override {
        if (++count_ > max_header_count) {
            throw base::Error(base::ErrorCode::header_fields_too_large,
                              "the request has too many headers");
        }
        std::string key = lower_case(name);
        const auto [place, added] =
            head_.request.headers.try_emplace(std::move(key), value.data(), value.size());
        if (!added && !may_repeat(place->first)) {
            throw base::Error(base::ErrorCode::invalid_argument,
                              "the header " + place->first + " stands more than once");
        }
    }

    // Pure virtual in newer Beast; unknown to older: no `override`. There are no trailers here.
    virtual void on_trailer_field_impl(http::field /*field*/, BeastView /*name*/,
                                       BeastView /*value*/, BeastError& /*error*/) {}
    void on_header_impl(BeastError& /*error*/) override {}
    void on_body_init_impl(boost::optional<std::uint64_t> const& /*length*/,
                           BeastError& /*error*/) override {}
    std::size_t on_body_impl(BeastView body, BeastError& /*error*/) override { return body.size(); }
    void on_chunk_header_impl(std::uint64_t /*size*/, BeastView /*extensions*/,
                              BeastError& /*error*/) override {}
    std::size_t on_chunk_body_impl(std::uint64_t /*remaining*/, BeastView body,
                                   BeastError& /*error*/) override {
        return body.size();
    }
    void on_finish_impl(BeastError& /*error*/) override {}
    void on_response_impl(int /*status*/, BeastView /*reason*/, int /*version*/,
                          BeastError& /*error*/) override {}

    void read_target(BeastView target) {
        if (target.size() > max_target_bytes) refuse("the request target is too long");
        if (target.empty() || target.front() != '/') {
            refuse("the request target must be a path that starts with '/'");
        }
        if (target.find('#') != BeastView::npos) refuse("the request target has a fragment");
        const std::size_t question = std::min(target.find('?'), target.size());
        head_.request.path.assign(target.data(), question);
        if (question < target.size()) {
            head_.request.query.assign(target.data() + question + 1, target.size() - question - 1);
        }
    }

    Head& head_;
    std::size_t count_ = 0;
    bool http_1_0_ = false;
};

void run_parser(HeadParser& parser, std::string_view bytes) {
    BeastError error;
    parser.header_limit(static_cast<std::uint32_t>(bytes.size() + 1));
    parser.skip(true);  // bodies are read by the connection, from the length checked here
    parser.put({bytes.data(), bytes.size()}, error);
    if (error) {
        throw base::Error(base::ErrorCode::invalid_argument, "the request is not HTTP/1.1",
                          error.message());
    }
}

std::size_t read_content_length(std::string_view text) {
    std::size_t length = 0;
    const char* end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, length);
    // from_chars takes no sign for unsigned types, no blank and no list: digits only.
    if (error != std::errc() || stop != end) refuse("Content-Length is not a number of bytes");
    return length;
}

void check_body_headers(Head& head) {
    const Request& request = head.request;
    if (request.headers.contains("transfer-encoding")) {
        refuse("Transfer-Encoding is not supported: send Content-Length");
    }
    if (const auto length = request.headers.find("content-length");
        length != request.headers.end()) {
        head.content_length = read_content_length(length->second);
    }
    const bool without_body = request.method == Method::GET || request.method == Method::DELETE;
    if (without_body && head.content_length > 0) refuse("this method takes no body");
    if (request.headers.contains("content-encoding")) {
        throw base::Error(base::ErrorCode::unsupported_media_type,
                          "Content-Encoding is not supported");
    }
    if (const auto expect = request.headers.find("expect"); expect != request.headers.end()) {
        if (!boost::beast::iequals(expect->second, "100-continue"))
            refuse("Expect is not supported");
        head.expects_continue = head.content_length > 0;
    }
}

bool is_token_char(char c) {
    const bool alphanumeric =
        (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
    return alphanumeric || c == '-' || c == '_';
}

bool is_safe_header(const std::pair<std::string, std::string>& header) {
    return !header.first.empty() &&
           std::all_of(header.first.begin(), header.first.end(), is_token_char) &&
           std::all_of(header.second.begin(), header.second.end(),
                       [](char c) { return c >= ' ' && c < 0x7f; });
}

}  // namespace

void parse_head(std::string_view bytes, Head& head) {
    head.keep_alive = false;  // until all of it was understood
    check_bytes(bytes);
    HeadParser parser(head);
    run_parser(parser, bytes);
    if (!parser.http_1_0() && !head.request.headers.contains("host")) refuse("Host is missing");
    check_body_headers(head);
    head.keep_alive = !parser.http_1_0() && parser.keep_alive();
}

base::WipedString serialize(const Response& response, bool keep_alive, std::string_view date) {
    base::WipedString out;
    out.reserve(384 + response.body.size());
    const auto add = [&out](std::string_view text) { out.append(text); };
    add("HTTP/1.1 ");
    add(std::to_string(response.status));
    add(" ");
    const auto reason = http::obsolete_reason(static_cast<http::status>(response.status));
    out.append(reason.data(), reason.size());
    add("\r\nDate: ");
    add(date);
    add("\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
        "Strict-Transport-Security: max-age=31536000\r\n");
    if (is_safe_header({"Content-Type", response.content_type}) && !response.body.empty()) {
        add("Content-Type: ");
        add(response.content_type);
        add("\r\n");
    }
    for (const auto& header : response.headers) {
        if (!is_safe_header(header)) continue;
        add(header.first);
        add(": ");
        add(header.second);
        add("\r\n");
    }
    add("Content-Length: ");
    add(std::to_string(response.body.size()));
    add(keep_alive ? "\r\n\r\n" : "\r\nConnection: close\r\n\r\n");
    out.append(response.body);
    return out;
}

}  // namespace server
