// Short texts of callers and operators: cursors, keys of orders, tokens, traces, times, names. What
// is accepted is written again as it stood, so that nothing has two spellings. The first byte says
// which.
#include <algorithm>
#include <array>

#include "base/clock.h"
#include "base/encoding.h"
#include "base/uuid.h"
#include "hsm/pkcs11_uri.h"
#include "kms/api_page.h"
#include "server/api_tokens.h"
#include "server/gate_trace.h"
#include "server/idempotency.h"
#include "server/shared_secret.h"
#include "tests/fuzz/only.h"
#include "vault/credential_answers.h"
#include "vault/cursors.h"
#include "vault/reasons.h"

namespace {

using base::ErrorCode;

void check_encodings(std::string_view text) {
    if (const auto bytes = base::parse_base64(text)) fuzz::require(base::to_base64(*bytes) == text);
    if (const auto bytes = base::parse_base64url(text))
        fuzz::require(base::to_base64url(*bytes) == text);
    if (const auto bytes = base::parse_hex(text)) fuzz::require(base::to_hex(*bytes) == text);
    if (const auto id = base::Uuid::parse(text)) fuzz::require(id->to_string() == text);
    if (const auto time = base::parse_rfc3339(text)) {
        // With an offset it may be a time of a year that is not written.
        const std::string written = base::to_rfc3339(*time);
        constexpr std::string_view first_year = "1970";
        if (written.size() == std::string_view("1970-01-01T00:00:00.000Z").size() &&
            written >= first_year)
            fuzz::require(base::parse_rfc3339(written) == time);
    }
}

// A page's query as both daemons read it.
void check_pages(std::string_view text) {
    server::Request request;
    request.query = text;
    const auto given = [&] { return request.query_parameters().at("cursor"); };
    fuzz::allow(ErrorCode::invalid_argument, [&] {
        const kms::PageRequest page = kms::read_page(request);
        fuzz::require(page.limit >= 1 && page.limit <= kms::max_page);
        if (!page.cursor.empty()) fuzz::require(kms::to_cursor(page.cursor) == given());
    });
    fuzz::allow(ErrorCode::invalid_argument, [&] {
        const vault::PageRequest page = vault::read_page(request, {"expires_before"});
        fuzz::require(page.limit >= 1);
        if (page.after.empty()) return;
        base::JsonWriter out;
        out.begin_object();
        vault::write_cursor(out, page.after);
        out.end_object();
        fuzz::require(out.text().find('"' + given() + '"') != std::string::npos);
    });
}

void check_cursors(const std::string& text) {
    constexpr std::uint64_t most = 1000;
    fuzz::allow(ErrorCode::invalid_argument, [&] {
        for (const char* owner : {"", "acme"}) {
            const vault::ExpiryPlace place = vault::parse_expiry_cursor(text, owner);
            fuzz::require(vault::to_cursor(place) == text);
            const bool names_row = vault::row_of_place(place.id).has_value();
            fuzz::require(names_row || vault::is_safe_name(place.id.owner));
            fuzz::require(names_row || *owner == 0 || place.id.owner == owner);
        }
    });
    fuzz::allow(ErrorCode::invalid_argument, [&] {
        const std::uint64_t number = vault::parse_number_cursor(text, most);
        fuzz::require(number <= most && (text.empty() || std::to_string(number) == text));
    });
    fuzz::allow(ErrorCode::invalid_argument, [&] {
        const vault::RewrapPlace place = vault::parse_rewrap_cursor(text);
        fuzz::require(text.empty() || vault::to_cursor(place) == text);
    });
    const vault::CredentialId named{"", text};
    if (const auto row = vault::row_of_place(named))
        fuzz::require(vault::place_of_row(*row) == named);
}

void check_head_fields(std::string_view text) {
    std::array<std::uint8_t, server::trace_random_bytes> drawn{};
    const std::string trace = server::traceparent_for(text, drawn);
    fuzz::require(server::is_traceparent(trace));
    fuzz::require(server::is_traceparent(text) == (trace == text));

    server::Request request;
    request.headers["idempotency-key"] = text;
    fuzz::allow(ErrorCode::invalid_argument, [&] {
        const auto key = server::idempotency_key(request);
        fuzz::require(key == text && text.size() <= 128 && text.find(' ') == text.npos);
    });
    if (const auto id = server::api_token_id_in(text)) {
        fuzz::require(text.starts_with("srt_" + *id + "_") && server::is_api_token_id(*id));
        fuzz::require(server::is_token_name(*id));
    }
    if (vault::is_reason(text)) {
        fuzz::require(base::is_utf8(text) && text.size() <= vault::max_reason_bytes);
        fuzz::require(text.find_first_of("\n\r\t") == text.npos);
    }
}

void check_secrets(std::string_view text) {
    fuzz::allow(ErrorCode::invalid_argument, [&] {
        const auto hash = server::parse_shared_secret_hash(server::shared_secret_hash(text));
        fuzz::require(hash.size() == 32);
        server::SharedSecrets callers({{"twitter", {hash}}});
        fuzz::require(callers.verify(text).id == "secret:twitter");
        fuzz::allow(ErrorCode::unauthenticated, [&] {
            static_cast<void>(callers.verify(std::string(text) + 'x'));
            fuzz::require(false);
        });
    });
    fuzz::allow(ErrorCode::invalid_argument,
                [&] { fuzz::require(server::parse_shared_secret_hash(text).size() == 32); });
}

// A URI never tells a PIN on, whatever becomes of it.
void check_uri(const std::string& text) {
    if (text.find('\0') != text.npos) return;  // no configuration holds one
    fuzz::allow(ErrorCode::failed_precondition, [&] {
        const hsm::TokenUri uri(text);
        fuzz::require(uri.text() == text && text.find("pin-value") == text.npos);
        fuzz::require(text.find("pin-source") == text.npos);
        const hsm::TokenUri again(uri.text());
        for (const char* label : {"strongroom", "other"})
            fuzz::require(uri.matches(label, "1") == again.matches(label, "1"));
    });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    const std::string text(fuzz::text_of(data + 1, size - 1));
    switch (data[0]) {
        case 'p':
            check_pages(text);
            break;
        case 'c':
            check_cursors(text);
            break;
        case 'h':
            check_head_fields(text);
            break;
        case 's':
            check_secrets(text);
            break;
        case 'u':
            check_uri(text);
            break;
        default:
            check_encodings(text);
            break;
    }
    return 0;
}
