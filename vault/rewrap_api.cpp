#include "vault/rewrap_api.h"

#include <charconv>
#include <cmath>

#include "base/encoding.h"
#include "base/error.h"
#include "base/json.h"
#include "server/answer.h"
#include "vault/actions.h"
#include "vault/cursors.h"
#include "vault/request_body.h"

namespace vault {
namespace {

using base::Error;
using base::ErrorCode;
using base::JsonWriter;

constexpr std::size_t max_start_body_bytes = 1024;
constexpr std::size_t max_rewrap_page = 100;
constexpr std::size_t default_rewrap_page = 50;

[[noreturn]] void refuse_query_field(std::string_view name, std::string_view complaint) {
    throw Error(ErrorCode::invalid_argument,
                "\"" + std::string(name) + "\" in the query " + std::string(complaint));
}

template <typename Number>
bool parse_whole(std::string_view text, Number& number) {
    const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    return error == std::errc() && stop == text.data() + text.size();
}

struct RewrapPage {
    std::size_t limit = default_rewrap_page;
    std::string cursor;
};

RewrapPage read_rewrap_page(const server::Request& request) {
    RewrapPage page;
    for (const auto& [name, value] : request.query_parameters()) {
        if (name == "limit") {
            if (!parse_whole(value, page.limit) || page.limit < 1 || page.limit > max_rewrap_page)
                refuse_query_field(name, "must be an integer from 1 to 100");
        } else if (name == "cursor") {
            page.cursor = value;
        } else {
            refuse_query_field(name, "is not a known parameter");
        }
    }
    return page;
}

std::optional<base::Uuid> parse_job_cursor(const std::string& cursor) {
    if (cursor.empty()) return std::nullopt;
    const auto id = base::Uuid::parse(cursor);
    if (!id) refuse_query_field("cursor", "is not one that this service gave");
    return id;
}

std::uint64_t read_rewrap_rate(const server::Request& request) {
    if (request.body.empty()) return 0;
    const base::JsonValue body = read_body(request, max_start_body_bytes);
    base::JsonReader reader(body);
    const auto rate = reader.optional_integer("records_per_second", 1, max_rewraps_per_second);
    reader.refuse_unknown();
    return static_cast<std::uint64_t>(rate.value_or(0));
}

void write_statement(JsonWriter& out, const RewrapJob& job, bool has_uncounted_copies) {
    const bool is_safe = job.statement->is_safe() && !has_uncounted_copies;
    out.name("safe_to_retire").begin_object().field("safe", is_safe);
    out.field("key_id", job.target.key_id.to_string());
    out.field("versions_below", job.target.version).field("remaining", job.statement->remaining);
    out.field("differing", job.statement->differing);
    out.field("uncounted_copies", has_uncounted_copies);
    out.field("counted_at", base::to_rfc3339(job.statement->counted_at)).end_object();
}

void write_job(JsonWriter& out, const RewrapJob& job, base::Time now, bool has_uncounted_copies) {
    const double rate = job.rate(now);
    out.begin_object().field("id", job.id.to_string()).field("state", to_string(job.state));
    out.field("key_id", job.target.key_id.to_string()).field("key_version", job.target.version);
    out.name("records").begin_object().field("total", job.total).field("done", job.done);
    out.field("failed", job.failed).field("superseded", job.superseded);
    out.field("left", job.left()).end_object();
    out.field("pass", job.pass);
    if (job.per_second > 0) out.field("records_per_second", job.per_second);
    out.name("rate").number(std::round(rate * 10) / 10);
    if (!job.is_over() && rate > 0) {
        const double seconds = std::ceil(static_cast<double>(job.left()) / rate);
        out.field("seconds_left", static_cast<std::uint64_t>(seconds));
    }
    if (!job.trouble.empty()) out.field("trouble", job.trouble);
    out.field("created_by", job.created_by).field("created_at", base::to_rfc3339(job.created_at));
    out.field("updated_at", base::to_rfc3339(job.updated_at));
    if (job.finished_at) out.field("finished_at", base::to_rfc3339(*job.finished_at));
    // A statement that is not in the audit log yet is none.
    if (job.statement && job.is_over()) write_statement(out, job, has_uncounted_copies);
    out.end_object();
}

}  // namespace

std::vector<server::Route> RewrapApi::routes() {
    using server::Access;
    using server::Method;
    using server::Operation;
    using server::Request;
    constexpr std::string_view all = "/v1/rewrap-jobs";
    return {
        server::changing(
            {Method::POST, all, start_rewrap_job, Access::authenticated, max_start_body_bytes,
             "Begin to move all stored credentials to the newest version of the master key",
             [this](Operation& operation, const Request& request) {
                 return start(operation, request);
             }}),
        {Method::GET, all, describe_rewrap_job, Access::authenticated, 0,
         "The rewrap jobs, newest first, a page at a time",
         [this](Operation& operation, const Request& request) { return list(operation, request); }},
        {Method::GET, "/v1/rewrap-jobs/{id}", describe_rewrap_job, Access::authenticated, 0,
         "Progress of a rewrap job; at its end, whether older versions are needed no more",
         [this](Operation& operation, const Request& request) {
             return describe(operation, request);
         }},
        {Method::GET, "/v1/rewrap-jobs/{id}/failures", describe_rewrap_job, Access::authenticated,
         0, "What a rewrap job could not move, a page at a time",
         [this](Operation& operation, const Request& request) {
             return failures(operation, request);
         }},
        server::changing({Method::POST, "/v1/rewrap-jobs/{id}/cancel", cancel_rewrap_job,
                          Access::authenticated, 0, "End a rewrap job; what it moved stays moved",
                          [this](Operation& operation, const Request& request) {
                              return cancel(operation, request);
                          }}),
    };
}

server::Response RewrapApi::answer(const RewrapJob& job, unsigned status) const {
    JsonWriter body;
    write_job(body, job, parts_.service.now(), parts_.has_uncounted_copies);
    return server::json_answer(std::move(body), status);
}

server::Response RewrapApi::start(server::Operation& operation, const server::Request& request) {
    const auto grant =
        parts_.authorizer.authorize(operation, start_rewrap_job, rewrap_job_resource("*"));
    server::refuse_query(request);
    const std::uint64_t rate = read_rewrap_rate(request);
    operation.record_intent();
    const RewrapJob job = parts_.service.start(grant, rate, operation.traceparent());
    operation.set_fact("job", job.id.to_string());
    operation.set_fact("key_id", job.target.key_id.to_string());
    operation.set_fact("key_version", std::to_string(job.target.version));
    operation.set_fact("records", std::to_string(job.total));
    if (parts_.wake) parts_.wake();
    return answer(job, 201);
}

server::Response RewrapApi::list(server::Operation& operation, const server::Request& request) {
    const auto grant =
        parts_.authorizer.authorize(operation, describe_rewrap_job, rewrap_job_resource("*"));
    const RewrapPage wanted = read_rewrap_page(request);
    const RewrapJobPage page =
        parts_.service.list(grant, parse_job_cursor(wanted.cursor), wanted.limit);
    JsonWriter body;
    body.begin_object().name("jobs").begin_array();
    for (const RewrapJob& job : page.jobs)
        write_job(body, job, parts_.service.now(), parts_.has_uncounted_copies);
    body.end_array();
    if (page.more) body.field("next_cursor", page.jobs.back().id.to_string());
    body.end_object();
    return server::json_answer(std::move(body));
}

server::Response RewrapApi::describe(server::Operation& operation, const server::Request& request) {
    const auto grant = parts_.authorizer.authorize(
        operation, describe_rewrap_job, rewrap_job_resource(request.path_parameter("id")));
    server::refuse_query(request);
    return answer(parts_.service.describe(grant), 200);
}

server::Response RewrapApi::failures(server::Operation& operation, const server::Request& request) {
    const auto grant = parts_.authorizer.authorize(
        operation, describe_rewrap_job, rewrap_job_resource(request.path_parameter("id")));
    const RewrapPage wanted = read_rewrap_page(request);
    const RewrapFailurePage page =
        parts_.service.failures(grant, parse_rewrap_cursor(wanted.cursor), wanted.limit);
    JsonWriter body;
    body.begin_object().name("failures").begin_array();
    for (const RewrapFailure& failure : page.failures) {
        body.begin_object().field("owner", failure.id.owner).field("name", failure.id.name);
        body.field("version", failure.version).field("reason", failure.reason);
        body.field("at", base::to_rfc3339(failure.at)).end_object();
    }
    body.end_array();
    if (page.next) {
        body.field("next_cursor", to_cursor(*page.next));
    }
    body.end_object();
    return server::json_answer(std::move(body));
}

server::Response RewrapApi::cancel(server::Operation& operation, const server::Request& request) {
    const auto grant = parts_.authorizer.authorize(
        operation, cancel_rewrap_job, rewrap_job_resource(request.path_parameter("id")));
    server::refuse_query(request);
    operation.record_intent();
    return answer(parts_.service.cancel(grant), 200);
}

}  // namespace vault
