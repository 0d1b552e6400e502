#include "vault/list_api.h"

#include "base/error.h"
#include "base/json.h"
#include "server/answer.h"
#include "vault/actions.h"
#include "vault/credential_answers.h"
#include "vault/cursors.h"

namespace vault {
namespace {

using base::JsonWriter;

constexpr std::string_view expires_before = "expires_before";

base::Time parse_time_parameter(std::string_view name, const std::string& text) {
    const auto time = base::parse_rfc3339(text);
    if (!time) refuse_parameter(name, "must be a time like 2030-01-31T12:00:00Z (RFC 3339)");
    return *time;
}

// `owner` is empty for all owners.
ExpiryQuestion read_expiry_question(const PageRequest& page, const std::string& text,
                                    const std::string& owner) {
    ExpiryQuestion question{.owner = owner,
                            .before = parse_time_parameter(expires_before, text),
                            .after = std::nullopt,
                            .limit = page.limit};
    if (!page.after.empty()) question.after = parse_expiry_cursor(page.after, owner);
    return question;
}

// Metadata that can't be read make a credential unsound, too.
void sort_out(CredentialPage& page) {
    std::vector<CredentialInfo> sound;
    sound.reserve(page.credentials.size());
    for (CredentialInfo& info : page.credentials) {
        try {
            require_sound(info);
            sound.push_back(std::move(info));
        } catch (const base::Error& error) {
            page.unsound.push_back({std::move(info.id), error.detail()});
        }
    }
    page.credentials = std::move(sound);
}

// What the caller may not see by itself, as a deny by owner or name says it, is in no list, and no
// cursor names it. How many there were is said in the record. Returns what of it is unsound.
std::vector<UnsoundCredential> leave_out(server::Operation& operation,
                                         const server::Authorizer& authorizer,
                                         CredentialPage& page) {
    CredentialPage hidden;
    const auto is_hidden = [&](const CredentialId& id, const Tags& tags) {
        server::Resource item = credential_resource(id);
        item.tags = tags;
        if (authorizer.shows(operation, list_credentials, item)) return false;
        if (id == page.last.id) page.last.id = page.last_row;
        return true;
    };
    std::erase_if(page.credentials, [&](const CredentialInfo& info) {
        if (!is_hidden(info.id, info.tags)) return false;
        hidden.credentials.push_back(info);
        return true;
    });
    std::erase_if(page.unsound, [&](const UnsoundCredential& one) {
        if (!is_hidden(one.id, {})) return false;
        hidden.unsound.push_back(one);
        return true;
    });
    const std::size_t left_out = hidden.credentials.size() + hidden.unsound.size();
    if (left_out > 0) operation.set_fact("left_out", std::to_string(left_out));
    sort_out(hidden);
    return std::move(hidden.unsound);
}

void write_unsound(JsonWriter& body, const std::vector<UnsoundCredential>& unsound) {
    if (unsound.empty()) return;
    const base::Error error = base::decryption_failed();
    body.name("unsound").begin_array();
    for (const UnsoundCredential& one : unsound) {
        body.begin_object().field("owner", one.id.owner).field("name", one.id.name);
        body.name("error").begin_object().field("code", base::to_string(error.code()));
        body.field("message", error.message()).end_object().end_object();
    }
    body.end_array();
}

}  // namespace

std::vector<server::Route> ListApi::routes() {
    using server::Access;
    using server::Method;
    using server::Operation;
    using server::Request;
    return {
        {Method::GET, "/v1/owners/{owner}/credentials", list_credentials, Access::authenticated, 0,
         "The credentials of an owner by name, or by expiry, a page at a time",
         [this](Operation& operation, const Request& request) { return list(operation, request); }},
        {Method::GET, "/v1/credentials", list_credentials, Access::authenticated, 0,
         "The credentials of all owners that expire before a time, a page at a time",
         [this](Operation& operation, const Request& request) {
             return list_all(operation, request);
         }}};
}

server::Response ListApi::list(server::Operation& operation, const server::Request& request) {
    const std::string owner = safe_parameter(request, "owner");
    const auto grant =
        authorizer_.authorize(operation, list_credentials, credentials_resource(owner));
    const PageRequest wanted = read_page(request, {expires_before});
    const auto before = wanted.more.find(expires_before);
    if (before != wanted.more.end()) {
        const auto question = read_expiry_question(wanted, before->second, owner);
        return page_answer(operation, service_.expiring(grant, question), true);
    }
    if (!wanted.after.empty() && !is_safe_name(wanted.after) && !row_of_place({"", wanted.after})) {
        refuse_cursor();
    }
    return page_answer(operation, service_.list(grant, wanted.after, wanted.limit), false);
}

server::Response ListApi::list_all(server::Operation& operation, const server::Request& request) {
    const auto grant = authorizer_.authorize(operation, list_credentials, all_credentials());
    const PageRequest wanted = read_page(request, {expires_before});
    const auto before = wanted.more.find(expires_before);
    if (before == wanted.more.end()) refuse_parameter(expires_before, "is missing");
    const auto question = read_expiry_question(wanted, before->second, {});
    return page_answer(operation, service_.expiring(grant, question), true);
}

// What can't be shown hides nothing else: it is named, recorded and logged. Where the caller may
// not see it, the log alone names it and the record counts it: a caller may fetch its own record.
server::Response ListApi::page_answer(server::Operation& operation, CredentialPage page,
                                      bool by_expiry) {
    const auto unsound_left_out = leave_out(operation, authorizer_, page);
    sort_out(page);
    note_unsound(operation, page.unsound);
    if (!unsound_left_out.empty()) {
        operation.set_fact("left_out_unsound", std::to_string(unsound_left_out.size()));
        log_unsound(operation, unsound_left_out);
    }
    JsonWriter body;
    body.begin_object().name("credentials").begin_array();
    for (const auto& info : page.credentials) {
        body.begin_object();
        write_fields(body, info, info.current(), service_.now());
        body.end_object();
    }
    body.end_array();
    write_unsound(body, page.unsound);
    if (page.more) write_cursor(body, by_expiry ? to_cursor(page.last) : page.last.id.name);
    body.end_object();
    return server::json_answer(std::move(body));
}

void ListApi::note_unsound(server::Operation& operation,
                           const std::vector<UnsoundCredential>& unsound) {
    if (unsound.empty()) return;
    operation.set_fact("unsound", std::to_string(unsound.size()));
    for (const UnsoundCredential& one : unsound) {
        operation.add_item(
            {one.id.owner + "/" + one.id.name, "integrity_failure", {}, {}, std::nullopt});
    }
    log_unsound(operation, unsound);
}

void ListApi::log_unsound(const server::Operation& operation,
                          const std::vector<UnsoundCredential>& unsound) {
    if (log_ == nullptr) return;
    log_->error("rows of credentials can't be believed; who can write the database changed them",
                {{"request_id", operation.request_id().to_string()},
                 {"credentials", static_cast<std::int64_t>(unsound.size())},
                 {"first", unsound.front().id.owner + "/" + unsound.front().id.name},
                 {"reason", unsound.front().reason}});
}

}  // namespace vault
