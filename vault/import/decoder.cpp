#include "vault/import/decoder.h"

#include <algorithm>
#include <set>

#include "base/encoding.h"
#include "base/error.h"
#include "base/uuid.h"
#include "vault/client/value_calls.h"
#include "vault/record.h"
#include "vault/sealed.h"

namespace vault {
namespace {

using base::Error;
using base::ErrorCode;
using base::JsonValue;

// As deep as a record's: what is too deep for the vault is told as that.
constexpr base::JsonLimits secret_limits{.bytes = 256UL * 1024, .depth = 24};
// One less than a request may nest, for the field that secret and metadata are in.
constexpr std::size_t max_credential_depth = 15;

[[noreturn]] void refuse_columns(const std::string& why) {
    throw Error(ErrorCode::invalid_argument, why);
}

std::optional<JsonValue> try_parse(std::string_view text) {
    try {
        return base::parse_json(text, secret_limits);
    } catch (const Error&) {
        return std::nullopt;  // its message may quote what is in there
    }
}

// A sealed value of this vault, also as a text; empty when it is something else.
std::optional<JsonValue> as_sealed(const JsonValue& held) {
    constexpr std::int64_t our_format = 2;
    if (const auto* text = held.string()) {
        if (!text->starts_with('{') || text->find("\"__enc\"") == base::WipedString::npos)
            return std::nullopt;
        const auto parsed = try_parse(*text);
        return parsed && parsed->string() == nullptr ? as_sealed(*parsed) : std::nullopt;
    }
    const JsonValue* mark = held.find("__enc");
    if (mark == nullptr || mark->integer() != our_format) return std::nullopt;
    return held;
}

// In whatever format, and a text that was cut: the vault refuses what begins as its own does.
bool looks_sealed(const JsonValue& secret) {
    try {
        return sealed_in(secret).has_value();
    } catch (const Error&) {
        return true;
    }
}

bool is_nothing(const JsonValue& value) {
    return value.is_null() || (value.string() != nullptr && value.string()->empty());
}

std::size_t compact_bytes(const JsonValue& value) { return base::to_json(value).size(); }

char to_lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

JsonValue in_object(const std::string& name, JsonValue value) {
    JsonValue::Object members;
    members.push_back({base::WipedString(name), std::move(value)});
    return JsonValue(std::move(members));
}

// Empty for a time that is none.
std::optional<JsonValue> plain_value(const PlainColumn& plain, const JsonValue& held,
                                     bool assume_utc) {
    if (!plain.is_time) return held;
    const auto time = to_expiry(held, assume_utc);
    if (!time) return std::nullopt;
    return JsonValue(base::WipedString(*time));
}

std::optional<Unreadable> find_too_deep(const JsonValue& value, const char* what,
                                        std::size_t levels) {
    if (!is_deeper_than(value, levels)) return std::nullopt;
    return Unreadable{std::string(what) + " is nested deeper than " + std::to_string(levels) +
                      " levels"};
}

std::vector<std::string> plain_columns(const ImportColumns& columns) {
    std::vector<std::string> names;
    names.reserve(columns.plain.size());
    for (const PlainColumn& plain : columns.plain) names.push_back(plain.column);
    return names;
}

// Two members of the secret can't have one name: no record would be imported.
void refuse_clashes(const ImportColumns& columns) {
    std::set<std::string> fields = {"__enc"};  // what marks a sealed text
    std::set<std::string> taken;
    if (columns.secret.size() > 1) {
        fields.insert(columns.secret.begin(), columns.secret.end());
    } else {
        fields.insert(columns.wrap.empty() ? columns.secret.front() : columns.wrap);
    }
    for (const PlainColumn& plain : columns.plain) {
        if (!fields.insert(plain.field).second)
            refuse_columns("two members of the secret would be called " + plain.field);
        if (!taken.insert(plain.column).second)
            refuse_columns("the plain column " + plain.column + " is named twice");
    }
}

}  // namespace

std::vector<std::string> named_columns(const ImportColumns& columns) {
    std::vector<std::string> names = lenient_columns(columns);
    const auto add = [&names](const std::vector<std::string>& more) {
        names.insert(names.end(), more.begin(), more.end());
    };
    if (!columns.may_lack_columns) {
        add(columns.secret);
        add(plain_columns(columns));
    }
    for (const ColumnText* text :
         {&columns.owner, &columns.name, &columns.context, &columns.bound}) {
        add(text->columns());
    }
    return names;
}

std::vector<std::string> lenient_columns(const ImportColumns& columns) {
    std::vector<std::string> names = columns.metadata;
    if (!columns.expires_at.empty()) names.push_back(columns.expires_at);
    if (columns.may_lack_columns) {
        for (std::string& column : plain_columns(columns)) names.push_back(std::move(column));
    }
    return names;
}

ImportDecoder::ImportDecoder(ImportColumns columns, std::unique_ptr<const OldFormat> format)
    : columns_(std::move(columns)), format_(std::move(format)) {
    if (!columns_.secret.empty()) refuse_clashes(columns_);
    const bool keeps_credentials = columns_.kind == ImportKind::credentials;
    if (columns_.secret.empty()) refuse_columns("no column is named that holds the secret");
    if (keeps_credentials && (columns_.owner.empty() || columns_.name.empty()))
        refuse_columns("credentials need an owner and a name");
    if (keeps_credentials && !columns_.context.empty())
        refuse_columns("a context is for sealed values, not for credentials");
    if (keeps_credentials) return;
    if (columns_.context.empty()) refuse_columns("sealed values need a context");
    if (columns_.secret.size() > 1) refuse_columns("sealed values are made of one column");
    if (!columns_.owner.empty() || !columns_.name.empty() || !columns_.metadata.empty() ||
        !columns_.expires_at.empty() || columns_.owner_is_uuid) {
        refuse_columns(
            "owner, name, metadata and expiry are for credentials, not for sealed values");
    }
}

DecodedRecord ImportDecoder::decode(JsonValue record) const {
    ImportItem item;
    if (columns_.kind == ImportKind::values) {
        const JsonValue* held = find_column(record, columns_.secret.front());
        if (held != nullptr) {
            if (auto sealed = as_sealed(*held)) {
                item.is_sealed = true;
                item.secret = std::move(*sealed);
            }
        }
    }
    if (!item.is_sealed) {
        Content content = read_secret(record);
        if (std::holds_alternative<NoSecret>(content)) return NoSecret{std::move(record)};
        if (auto* why = std::get_if<Unreadable>(&content)) return std::move(*why);
        item.secret = std::move(std::get<JsonValue>(content));
    }
    const bool is_value = columns_.kind == ImportKind::values;
    if (auto why = find_too_deep(item.secret, "the secret",
                                 is_value ? max_value_depth : max_credential_depth)) {
        return std::move(*why);
    }
    item.record = std::move(record);
    if (auto why = fill_place(item)) return std::move(*why);
    if (auto why = fill_extras(item)) return std::move(*why);
    return item;
}

ImportDecoder::Content ImportDecoder::read_columns(const JsonValue& record) const {
    if (columns_.secret.size() == 1) return read_column(record, columns_.secret.front());
    JsonValue::Object parts;
    for (const std::string& column : columns_.secret) {
        Content part = read_column(record, column);
        if (std::holds_alternative<Unreadable>(part)) return part;
        if (auto* value = std::get_if<JsonValue>(&part))
            parts.push_back({base::WipedString(column), std::move(*value)});
    }
    if (parts.empty()) return NoSecret{};
    return JsonValue(std::move(parts));
}

// `secret` becomes an object, under its column's name where it is none.
std::optional<Unreadable> ImportDecoder::add_plain(JsonValue& secret,
                                                   const JsonValue& record) const {
    if (columns_.plain.empty()) return std::nullopt;
    if (secret.object() == nullptr) secret = in_object(columns_.secret.front(), std::move(secret));
    for (const PlainColumn& plain : columns_.plain) {
        const JsonValue* held = find_column(record, plain.column);
        if (held == nullptr && !columns_.may_lack_columns)
            return Unreadable{"a plain column is missing; --allow-missing goes on without it"};
        if (held == nullptr || is_nothing(*held)) continue;
        auto value = plain_value(plain, *held, columns_.assume_utc);
        if (!value)
            return Unreadable{
                "a plain time is no time with an offset; --utc is for times without one"};
        if (secret.find(plain.field) != nullptr)
            return Unreadable{"the secret has a member of a plain column's name already"};
        secret.object()->push_back({base::WipedString(plain.field), std::move(*value)});
    }
    return std::nullopt;
}

ImportDecoder::Content ImportDecoder::read_secret(const JsonValue& record) const {
    Content content = read_columns(record);
    auto* secret = std::get_if<JsonValue>(&content);
    if (secret == nullptr) return content;
    if (!columns_.wrap.empty() && secret->object() == nullptr)
        *secret = in_object(columns_.wrap, std::move(*secret));
    if (auto why = add_plain(*secret, record)) return std::move(*why);
    if (looks_sealed(*secret))
        return Unreadable{"the secret is sealed already, in whatever format"};
    if (compact_bytes(*secret) > max_secret_bytes)
        return Unreadable{"the secret has more than " + std::to_string(max_secret_bytes) +
                          " bytes as compact JSON"};
    return content;
}

ImportDecoder::Content ImportDecoder::read_column(const JsonValue& record,
                                                  const std::string& column) const {
    const JsonValue* held = find_column(record, column);
    if (held == nullptr && !columns_.may_lack_columns)
        return Unreadable{"a column of the secret is missing; --allow-missing takes it for none"};
    if (held == nullptr || is_nothing(*held)) return NoSecret{};
    if (format_ != nullptr) return open_old(*held, record);
    if (columns_.is_text) {
        if (held->string() == nullptr) return Unreadable{"the secret is no text"};
        return *held;
    }
    if (held->string() == nullptr) return *held;
    auto parsed = try_parse(*held->string());
    if (!parsed)
        return Unreadable{
            "the secret is no JSON that the vault takes; text is imported with --as text"};
    return std::move(*parsed);
}

ImportDecoder::Content ImportDecoder::open_old(const JsonValue& held,
                                               const JsonValue& record) const {
    const auto bound = columns_.bound.fill(record);
    if (!bound) return Unreadable{"a column that the old ciphertext is bound to is missing"};
    const OldSecret opened = format_->open(held, *bound);
    if (const auto* why = std::get_if<Unreadable>(&opened)) return *why;
    const std::string_view text = std::get<base::SecretBytes>(opened).expose_text();
    if (columns_.is_text) {
        if (!base::is_utf8(text)) return Unreadable{"what was opened is no text"};
        return JsonValue(base::WipedString(text));
    }
    auto parsed = try_parse(text);
    if (!parsed) return Unreadable{"what was opened is no JSON that the vault takes"};
    return std::move(*parsed);
}

std::optional<Unreadable> ImportDecoder::fill_place(ImportItem& item) const {
    struct Wanted {
        const ColumnText& text;
        std::string& out;
        const char* what;
    };
    const auto fill = [&](const Wanted& wanted) -> std::optional<Unreadable> {
        auto filled = wanted.text.fill(item.record);
        if (!filled)
            return Unreadable{std::string("a column of the ") + wanted.what + " is missing"};
        if (!is_safe_name(*filled)) {
            return Unreadable{std::string("the ") + wanted.what +
                              " must have 1 to 128 letters, digits and characters of ._-:@+=,~ and "
                              "not be dots alone"};
        }
        wanted.out = std::move(*filled);
        return std::nullopt;
    };
    if (columns_.kind == ImportKind::values)
        return fill({columns_.context, item.context, "context"});
    if (auto why = fill({columns_.owner, item.owner, "owner"})) return why;
    if (columns_.owner_is_uuid) {
        std::transform(item.owner.begin(), item.owner.end(), item.owner.begin(), to_lower);
        if (!base::Uuid::parse(item.owner)) return Unreadable{"the owner is no UUID"};
    }
    return fill({columns_.name, item.name, "name"});
}

JsonValue::Object ImportDecoder::metadata_of(const JsonValue& record) const {
    JsonValue::Object metadata;
    for (const std::string& column : columns_.metadata) {
        const JsonValue* held = find_column(record, column);
        if (held == nullptr || is_nothing(*held)) continue;
        const auto plain =
            std::find_if(columns_.plain.begin(), columns_.plain.end(),
                         [&column](const PlainColumn& one) { return one.column == column; });
        if (plain == columns_.plain.end()) {
            metadata.push_back({base::WipedString(column), *held});
        } else if (auto value = plain_value(*plain, *held, columns_.assume_utc)) {
            metadata.push_back({base::WipedString(plain->field), std::move(*value)});
        }
    }
    return metadata;
}

std::optional<Unreadable> ImportDecoder::fill_extras(ImportItem& item) const {
    JsonValue::Object metadata = metadata_of(item.record);
    if (columns_.metadata.size() == 1 && !metadata.empty()) {
        JsonValue& only = metadata.front().value;
        std::optional<JsonValue> parsed;
        if (only.string() != nullptr && only.string()->starts_with('{'))
            parsed = try_parse(*only.string());
        if (parsed) only = std::move(*parsed);
        if (only.object() != nullptr) {
            JsonValue::Object inner = std::move(*only.object());
            metadata = std::move(inner);
        }
    }
    if (!metadata.empty()) item.metadata = JsonValue(std::move(metadata));
    if (item.metadata && compact_bytes(*item.metadata) > max_metadata_bytes)
        return Unreadable{"the metadata has more than " + std::to_string(max_metadata_bytes) +
                          " bytes as compact JSON"};
    if (item.metadata) {
        if (auto why = find_too_deep(*item.metadata, "the metadata", max_credential_depth))
            return why;
    }
    if (columns_.expires_at.empty()) return std::nullopt;
    const JsonValue* expiry = find_column(item.record, columns_.expires_at);
    if (expiry == nullptr || is_nothing(*expiry)) return std::nullopt;
    item.expires_at = to_expiry(*expiry, columns_.assume_utc);
    if (!item.expires_at)
        return Unreadable{"the expiry is no time with an offset; --utc is for times without one"};
    return std::nullopt;
}

}  // namespace vault
