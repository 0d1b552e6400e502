// From an application's record to what is imported: which columns are what, the old format opened,
// everything checked that can be before the vault is asked.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/json.h"
#include "vault/import/columns.h"
#include "vault/import/old_format.h"

namespace vault {

// What is imported: credentials that the vault keeps, or values that the application keeps.
enum class ImportKind { credentials, values };

// A column beside the old ciphertexts that goes into the secret as it is, as a member `field`.
struct PlainColumn {
    std::string column{}, field{};
    bool is_time = false;  // as RFC 3339, from whatever to_expiry() reads
};

// Which columns are what.
struct ImportColumns {
    ImportKind kind = ImportKind::credentials;
    ColumnText owner, name;  // of a credential
    ColumnText context;      // of a value
    // Where the secret is. One: its content is the secret. Several: an object of them, by their
    // names; for credentials only.
    std::vector<std::string> secret{};
    // Members of the secret beside what the columns above give, an object then.
    std::vector<PlainColumn> plain{};
    // One that holds an object: that. Else an object of them; one of `plain` has the name and the
    // form of its member. For credentials only.
    std::vector<std::string> metadata{};
    std::string expires_at{};  // a column; empty: none expires. For credentials only
    bool assume_utc = false;
    bool owner_is_uuid = false;  // written as the older shapes ask for it: in lower case
    bool is_text = false;        // the secret is text, whatever it looks like; else it is JSON
    std::string wrap{};  // puts what is no object into one, under this name; empty: does not
    ColumnText bound{};  // what the old ciphertexts were bound to
    // A record without a column of the secret has none; else it is unreadable, since a name that is
    // mistyped looks the same.
    bool may_lack_columns = false;
};

// All that are named and must be columns of a source that has the same for every record; those of
// the secret only when a record may not lack them.
std::vector<std::string> named_columns(const ImportColumns& columns);
// Those that a record may lack without failing: of metadata and expiry, and plain ones where
// may_lack_columns says so.
std::vector<std::string> lenient_columns(const ImportColumns& columns);

// One record, ready for the vault.
struct ImportItem {
    std::string owner, name;  // of a credential
    std::string context;      // of a value
    base::JsonValue secret;   // the sealed value itself when it is_sealed
    std::optional<base::JsonValue> metadata;
    std::optional<std::string> expires_at;  // RFC 3339
    bool is_sealed = false;                 // a value that this vault's format has already
    bool has_secret = true;                 // false: only its record goes to an output file
    base::JsonValue record;                 // as it was read
};

// A record that has no secret: nothing to seal.
struct NoSecret {
    base::JsonValue record{};  // as it was read
};

using DecodedRecord = std::variant<ImportItem, NoSecret, Unreadable>;

// Safe to share between threads.
class ImportDecoder {
public:
    // `format` is null for plaintext. Throws invalid_argument saying what does not go together.
    ImportDecoder(ImportColumns columns, std::unique_ptr<const OldFormat> format);

    DecodedRecord decode(base::JsonValue record) const;
    const ImportColumns& columns() const { return columns_; }

private:
    using Content = std::variant<base::JsonValue, NoSecret, Unreadable>;
    Content read_secret(const base::JsonValue& record) const;
    Content read_columns(const base::JsonValue& record) const;
    std::optional<Unreadable> add_plain(base::JsonValue& secret,
                                        const base::JsonValue& record) const;
    base::JsonValue::Object metadata_of(const base::JsonValue& record) const;
    Content read_column(const base::JsonValue& record, const std::string& column) const;
    Content open_old(const base::JsonValue& held, const base::JsonValue& record) const;
    std::optional<Unreadable> fill_place(ImportItem& item) const;
    std::optional<Unreadable> fill_extras(ImportItem& item) const;

    ImportColumns columns_;
    std::unique_ptr<const OldFormat> format_;
};

}  // namespace vault
