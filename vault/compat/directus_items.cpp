#include "vault/compat/directus_items.h"

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/uuid.h"
#include "vault/record.h"
#include "vault/sealed.h"

namespace vault::compat {
namespace {

using base::Error;
using base::ErrorCode;

constexpr std::string_view sealed_field = "encrypted_credentials";
constexpr std::string_view version_field = "credentials_version";
constexpr std::string_view time_field = "credentials_updated_at";
constexpr std::string_view json_type = "application/json";
constexpr int max_rounds = 5;

bool is_visible(char c) { return c > ' ' && c < '\x7F'; }

base::SecretBytes read_authorization(const server::SecretSource& source) {
    const base::SecretBytes token = base::read_secret_file(source.file);
    const std::string_view text = token.expose_text();
    if (!std::all_of(text.begin(), text.end(), is_visible)) {
        throw Error(ErrorCode::invalid_argument,
                    source.file.string() + " must hold a token of visible ASCII");
    }
    base::WipedString header = "Bearer ";
    header += text;
    return base::SecretBytes(base::as_bytes(header));
}

// Collections and profiles are safe names and UUIDs: nothing in them has to be escaped.
std::string path_of(const DirectusConfig& config, const std::string& profile) {
    return "/items/" + config.collection + "/" + profile;
}

Error unusable(const std::string& detail) {
    return {ErrorCode::unavailable, "the profile's item can't be reached", detail};
}

// A field of JSON or of text, as the collection has it.
std::string sealed_text(const base::JsonValue& value) {
    if (value.string() != nullptr) return std::string(*value.string());
    return std::string(base::to_json(value));
}

// Whether a list is one, and empty.
bool tells_of_no_item(std::string_view body) {
    try {
        const base::JsonValue answer = base::parse_json(body);
        const base::JsonValue* data = answer.find("data");
        return data != nullptr && data->array() != nullptr && data->array()->empty();
    } catch (const Error&) {
        return false;
    }
}

// A place among those that may ask at once.
class Place {
public:
    Place(std::atomic<std::size_t>& count, std::size_t most) : count_(count) {
        if (count_++ < most) return;
        --count_;
        throw unusable("too many exchanges with Directus at once");
    }
    ~Place() { --count_; }
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;

private:
    std::atomic<std::size_t>& count_;
};

}  // namespace

DirectusItem parse_item(std::string_view body) {
    const base::JsonValue answer = base::parse_json(body, {.bytes = 2 * max_sealed_bytes});
    const base::JsonValue* data = answer.find("data");
    const base::JsonValue* sealed = data == nullptr ? nullptr : data->find(sealed_field);
    const base::JsonValue* version = data == nullptr ? nullptr : data->find(version_field);
    if (sealed == nullptr || sealed->is_null())
        throw Error(ErrorCode::not_found, "there is no such credential");
    const auto number = version == nullptr ? std::nullopt : version->integer();
    if (!number || *number < 1) throw base::decryption_failed("the item has no version");
    return {sealed_text(*sealed), static_cast<std::uint64_t>(*number)};
}

bool tells_version(std::string_view body, std::uint64_t version) {
    try {
        const base::JsonValue answer = base::parse_json(body, {.bytes = 2 * max_sealed_bytes});
        const base::JsonValue* data = answer.find("data");
        const base::JsonValue* told = data == nullptr ? nullptr : data->find(version_field);
        if (told == nullptr) return false;
        if (version == 0) return told->is_null();
        return told->integer() == static_cast<std::int64_t>(version);
    } catch (const Error&) {
        return false;
    }
}

DirectusItems::DirectusItems(DirectusConfig config, std::string credential_name)
    : config_(std::move(config)),
      name_(std::move(credential_name)),
      https_(config_.https),
      authorization_(read_authorization(config_.token)) {}

std::optional<CredentialId> DirectusItems::of(const std::string& owner) const {
    const auto profile = base::Uuid::parse(owner);
    if (!profile || profile->to_string() != owner) return std::nullopt;
    return CredentialId{owner, name_};
}

server::HttpsAnswer DirectusItems::exchange(server::Method method, const std::string& more,
                                            std::string_view body, Deadline until) const {
    const Place place(under_way_, config_.max_concurrent);
    server::HttpsRequest wanted{.method = method,
                                .more = more,
                                .authorization = authorization_.expose_text(),
                                .content_type = {},
                                .body = body,
                                .until = until};
    if (!body.empty()) wanted.content_type = json_type;
    return https_.send(wanted);
}

void DirectusItems::follow(const CredentialId& id, const Look& look) const {
    const Deadline until = deadline();
    std::optional<std::uint64_t> written;
    for (int round = 0; round < max_rounds; ++round) {
        const auto now = look();
        const std::uint64_t version = now ? now->version.version : 0;
        if (written == version) return;
        now ? write(id.owner, *now, until) : empty(id.owner, until);
        written = version;
    }
    throw unusable("others store these credentials at once");
}

server::HttpsAnswer DirectusItems::patch(const std::string& profile, std::string_view body,
                                         Deadline until) const {
    return exchange(server::Method::PATCH,
                    path_of(config_, profile) + "?fields=" + std::string(version_field), body,
                    until);
}

void DirectusItems::write(const std::string& profile, const StoredVersion& stored,
                          Deadline until) const {
    const std::uint64_t version = stored.version.version;
    base::JsonWriter body;
    body.begin_object().field(sealed_field, stored.sealed).field(version_field, version);
    body.field(time_field, base::to_rfc3339(stored.info.updated_at)).end_object();
    const auto answer = patch(profile, body.text(), until);
    // 204 would be the answer to a write of an item that is not there.
    if (answer.status != 200 || !tells_version(answer.body, version))
        throw unusable(https_.url() + ": status " + std::to_string(answer.status) +
                       " to a write, and not what was written");
}

// An item that is not there holds nothing. Directus says 204 to an administrator's write of one; to
// a token with fewer rights 403, as for an item that is there and that it may not write.
void DirectusItems::empty(const std::string& profile, Deadline until) const {
    base::JsonWriter body;
    body.begin_object();
    for (const auto field : {sealed_field, version_field, time_field}) body.name(field).null();
    body.end_object();
    const auto answer = patch(profile, body.text(), until);
    if (answer.status == 204 || (answer.status == 200 && tells_version(answer.body, 0))) return;
    if (answer.status == 403 && is_missing(profile, until)) return;
    throw unusable(https_.url() + ": status " + std::to_string(answer.status) +
                   " to a write of null, and not what was written");
}

// A list, since it is given to who may read the collection, whatever items it has.
bool DirectusItems::is_missing(const std::string& profile, Deadline until) const {
    const std::string more =
        "/items/" + config_.collection + "?fields=id&limit=1&filter%5Bid%5D%5B_eq%5D=" + profile;
    const auto answer = exchange(server::Method::GET, more, {}, until);
    return answer.status == 200 && tells_of_no_item(answer.body);
}

DirectusItem DirectusItems::read(const std::string& profile) const {
    const std::string more = path_of(config_, profile) + "?fields=" + std::string(sealed_field) +
                             "," + std::string(version_field);
    const auto answer = exchange(server::Method::GET, more, {}, deadline());
    if (answer.status == 404) throw Error(ErrorCode::not_found, "there is no such credential");
    if (answer.status != 200)
        throw unusable(https_.url() + ": status " + std::to_string(answer.status) + " to a read");
    try {
        return parse_item(answer.body);
    } catch (const Error& error) {
        if (error.code() != ErrorCode::invalid_argument) throw;
        throw unusable(https_.url() + ": its answer is no item");
    }
}

}  // namespace vault::compat
