#include "server/api_tokens.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <array>

#include "base/encoding.h"
#include "base/error.h"
#include "base/json.h"
#include "base/random.h"
#include "server/database.h"
#include "server/digest.h"
#include "server/identity_words.h"

namespace server {
namespace {

constexpr std::size_t id_bytes = 8;
constexpr std::size_t id_digits = 2 * id_bytes;
constexpr std::size_t secret_bytes = 32;
constexpr std::size_t min_hash_key_bytes = 32;

// Times are milliseconds since 1970, 0 for none.
constexpr std::array migrations = {Migration{1, R"sql(
CREATE TABLE api_tokens (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  hash TEXT NOT NULL,
  claims TEXT NOT NULL,
  made_by TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL,
  revoked_at BIGINT NOT NULL,
  revoked_by TEXT NOT NULL
)
)sql"}};

constexpr const char* columns =
    "id, name, hash, claims, made_by, created_at, expires_at, revoked_at, revoked_by";

// A row, with variables that SOCI fills.
struct TokenRow {
    std::string id, name, hash, claims, made_by, revoked_by;
    long long created_at = 0, expires_at = 0, revoked_at = 0;
};

std::string to_text(const Claims& claims) {
    base::JsonWriter out;
    out.begin_object();
    for (const auto& [name, values] : claims) {
        out.name(name).begin_array();
        for (const std::string& value : values) out.string(value);
        out.end_array();
    }
    out.end_object();
    return std::string(out.text());
}

// A row may have been edited by a hand in the database: nothing of its shape is believed.
Claims parse_claims(const std::string& text) {
    const auto require = [](const auto* part) {
        if (part == nullptr) {
            throw base::Error(base::ErrorCode::integrity_failure,
                              "the row of an API token is not as it was written");
        }
        return part;
    };
    Claims claims;
    const base::JsonValue value = base::parse_json(text);
    for (const auto& member : *require(value.object())) {
        for (const auto& item : *require(member.value.array())) {
            claims[std::string(member.name)].emplace_back(*require(item.string()));
        }
    }
    return claims;
}

ApiToken to_token(const TokenRow& row) {
    ApiToken token;
    token.id = row.id;
    token.name = row.name;
    token.claims = parse_claims(row.claims);
    token.made_by = row.made_by;
    token.created_at = base::from_milliseconds(row.created_at);
    token.expires_at = base::from_milliseconds(row.expires_at);
    if (row.revoked_at != 0) token.revoked_at = base::from_milliseconds(row.revoked_at);
    token.revoked_by = row.revoked_by;
    return token;
}

// What a row has for `credential`, in hex. Each part with its length before it, so that no two rows
// look alike.
std::string keyed_hash(const base::SecretBytes& key, const TokenRow& row,
                       std::string_view credential) {
    const std::string created_at = std::to_string(row.created_at);
    const std::string expires_at = std::to_string(row.expires_at);
    base::WipedString text;
    for (const std::string_view part :
         {std::string_view(row.id), std::string_view(row.name), std::string_view(row.claims),
          std::string_view(row.made_by), std::string_view(created_at), std::string_view(expires_at),
          credential}) {
        text += std::to_string(part.size());
        text += ':';
        text += part;
    }
    std::array<std::uint8_t, EVP_MAX_MD_SIZE> out{};
    unsigned int size = 0;
    const base::ByteView bytes = base::as_bytes(text);
    if (HMAC(EVP_sha256(), key.expose().data(), static_cast<int>(key.size()), bytes.data(),
             bytes.size(), out.data(), &size) == nullptr) {
        throw base::Error(base::ErrorCode::internal, "internal error", "HMAC failed");
    }
    return base::to_hex({out.data(), size});
}

// The select of every request that comes with a token, prepared once for each connection.
class FindToken {
public:
    explicit FindToken(soci::session& session)
        : select_((session.prepare << "SELECT " << columns << " FROM api_tokens WHERE id = :id",
                   soci::into(row_.id), soci::into(row_.name), soci::into(row_.hash),
                   soci::into(row_.claims), soci::into(row_.made_by), soci::into(row_.created_at),
                   soci::into(row_.expires_at), soci::into(row_.revoked_at),
                   soci::into(row_.revoked_by), soci::use(id_, "id"))) {}

    // Empty when there is no such token.
    std::optional<TokenRow> find(const std::string& id) {
        id_ = id;
        if (!select_.execute(true)) return std::nullopt;
        return row_;
    }

private:
    std::string id_;
    TokenRow row_;
    soci::statement select_;  // the last: it is bound to the others
};

std::optional<TokenRow> read_row(Session& session, const std::string& id) {
    return session.kept<FindToken>().find(id);
}

std::string random_id() {
    std::array<std::uint8_t, id_bytes> random{};
    base::random_bytes(random);
    return base::to_hex(random);
}

base::SecretBytes make_text(const std::string& id) {
    const base::SecretBytes random = base::random_secret(secret_bytes);
    base::WipedString text;
    text.append(api_token_start).append(id).append("_");
    const std::size_t start = text.size();
    base::append_base64(text, random.expose());
    text.erase(text.find('='));
    std::replace(text.begin() + static_cast<std::ptrdiff_t>(start), text.end(), '+', '-');
    std::replace(text.begin() + static_cast<std::ptrdiff_t>(start), text.end(), '/', '_');
    return base::SecretBytes(base::as_bytes(text));
}

}  // namespace

std::string api_token_id_of(std::string_view order) {
    return Sha256().hex(order).substr(0, id_digits);
}

base::Error api_token_was_made(const std::string& id) {
    return {
        base::ErrorCode::failed_precondition,
        "the API token " + id +
            " was made by this order, and its text is shown only once: if that was lost, revoke "
            "the token and make another, with another Idempotency-Key"};
}

ApiTokens::ApiTokens(Database& database, base::SecretBytes key, const base::Clock& clock)
    : database_(database), key_(std::move(key)), clock_(clock) {
    if (key_.size() < min_hash_key_bytes) {
        throw base::Error(base::ErrorCode::invalid_argument,
                          "the key of API tokens must have 32 characters at least");
    }
    database_.migrate("api tokens", migrations);
}

MadeApiToken ApiTokens::create(const Grant& grant, const std::string& name, const Claims& claims,
                               std::chrono::seconds lifetime, const std::string& order) {
    MadeApiToken made;
    made.token.id = order.empty() ? random_id() : api_token_id_of(order);
    made.token.name = name;
    made.token.claims = claims;
    made.token.made_by = grant.caller().id;
    made.token.created_at = clock_.now();
    made.token.expires_at = made.token.created_at + lifetime;
    made.text = make_text(made.token.id);
    TokenRow row;
    row.id = made.token.id;
    row.name = name;
    row.claims = to_text(claims);
    row.made_by = made.token.made_by;
    row.created_at = base::to_milliseconds(made.token.created_at);
    row.expires_at = base::to_milliseconds(made.token.expires_at);
    row.hash = keyed_hash(key_, row, made.text.expose_text());
    bool is_there = false;
    // Two nodes can't both find nothing and insert: one transaction is as if behind the other.
    database_.write([&](Session& session) {
        is_there = !order.empty() && read_row(session, row.id);
        if (is_there) return;
        session << "INSERT INTO api_tokens (" << columns
                << ") VALUES (:id, :name, :hash, :claims, :made_by, :created, :expires, 0, '')",
            soci::use(row.id, "id"), soci::use(row.name, "name"), soci::use(row.hash, "hash"),
            soci::use(row.claims, "claims"), soci::use(row.made_by, "made_by"),
            soci::use(row.created_at, "created"), soci::use(row.expires_at, "expires");
    });
    if (is_there) throw api_token_was_made(row.id);
    return made;
}

std::vector<ApiToken> ApiTokens::list(const Grant& /*grant*/, const std::string& after,
                                      std::size_t limit) {
    std::vector<ApiToken> tokens;
    const int most = static_cast<int>(limit);
    database_.read([&](Session& session) {
        tokens.clear();
        TokenRow row;
        soci::statement select =
            (session.prepare << "SELECT " << columns
                             << " FROM api_tokens WHERE id > :after ORDER BY id LIMIT :most",
             soci::into(row.id), soci::into(row.name), soci::into(row.hash), soci::into(row.claims),
             soci::into(row.made_by), soci::into(row.created_at), soci::into(row.expires_at),
             soci::into(row.revoked_at), soci::into(row.revoked_by), soci::use(after, "after"),
             soci::use(most, "most"));
        select.execute();
        while (select.fetch()) tokens.push_back(to_token(row));
    });
    return tokens;
}

std::optional<ApiToken> ApiTokens::find(const std::string& id) {
    std::optional<TokenRow> row;
    database_.read([&](Session& session) { row = read_row(session, id); });
    if (!row) return std::nullopt;
    return to_token(*row);
}

ApiToken ApiTokens::revoke(const Grant& grant, const std::string& id) {
    const long long now = base::to_milliseconds(clock_.now());
    std::optional<TokenRow> row;
    database_.write([&](Session& session) {
        session << "UPDATE api_tokens SET revoked_at = :now, revoked_by = :by "
                   "WHERE id = :id AND revoked_at = 0",
            soci::use(now, "now"), soci::use(grant.caller().id, "by"), soci::use(id, "id");
        row = read_row(session, id);
    });
    if (!row) throw base::Error(base::ErrorCode::not_found, "there is no such API token");
    return to_token(*row);
}

Caller ApiTokens::verify(std::string_view credential) {
    const auto id = api_token_id_in(credential);
    if (!id) refuse_credential("token_malformed");
    std::optional<TokenRow> row;
    database_.read([&](Session& session) { row = read_row(session, *id); });
    if (!row) refuse_credential("token_unknown");
    const std::string hash = keyed_hash(key_, *row, credential);
    if (!base::equal_constant_time(base::as_bytes(hash), base::as_bytes(row->hash))) {
        refuse_credential("token_unknown");
    }
    // Only who has the token learns, from the audit log, that it was good once.
    const ApiToken token = to_token(*row);
    if (token.revoked_at) refuse_credential("token_revoked");
    if (clock_.now() >= token.expires_at) refuse_credential("token_expired");
    Caller caller;
    caller.id = std::string(api_token_prefix) + token.name;
    caller.method = AuthenticationMethod::api_token;
    caller.claims = token.claims;
    caller.claims["token_id"] = {token.id};
    caller.credential = token.id;
    return caller;
}

}  // namespace server
