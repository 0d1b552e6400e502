// The way of a request's bytes: head, body, where the next one begins; then its path among routes
// and its query. However the bytes are cut, the same must come of them.
#include <cstdint>
#include <cstdlib>

#include "server/route.h"
#include "tests/fuzz/only.h"
#include "tests/server/edge_reader_run.h"

namespace {

const server::RouteTable& routes() {
    using server::Access;
    using server::Method;
    static const server::RouteTable table({
        {Method::GET, "/v1/keys", {"list"}, Access::authenticated, 0, "Lists.", nullptr},
        {Method::GET, "/v1/keys/{key}", {"get"}, Access::authenticated, 0, "Tells.", nullptr},
        {Method::POST,
         "/v1/keys/{key}/sign",
         {"sign"},
         Access::authenticated,
         9,
         "Signs.",
         nullptr},
    });
    return table;
}

void route(const std::string& text) {
    const std::size_t method_end = text.find(' ');
    const auto method = server::parse_method(text.substr(0, method_end));
    server::Request request;
    const std::string target =
        text.substr(method_end + 1, text.find(' ', method_end + 1) - method_end - 1);
    request.path = target.substr(0, target.find('?'));
    if (request.path.size() < target.size()) request.query = target.substr(request.path.size() + 1);
    fuzz::allow_errors([&] {
        const auto match = routes().match(*method, request.path);
        for (const auto& [name, value] : match.parameters) {
            // What a handler gets can't be taken for another path.
            fuzz::require(value.find('\0') == std::string::npos && value != "." && value != ".." &&
                          value.find('/') == std::string::npos);
        }
    });
    fuzz::allow_errors([&] { static_cast<void>(request.query_parameters()); });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < 1) return 0;
    const std::size_t piece = data[0] + 1U;
    const std::string_view bytes = fuzz::text_of(data + 1, size - 1);
    const tests::ReaderRun whole = tests::run_reader(bytes, bytes.size() + 1);
    fuzz::require(tests::run_reader(bytes, piece) == whole);
    for (const auto& request : whole.requests) route(request);
    return 0;
}
