// Columns of an application's records: finding them, and texts that are made of them. Knows no
// cryptography and no vault.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace vault {

// The column of that name; else, when the name has dots, the member it leads to ("_id.$oid"). Null
// when there is none.
const base::JsonValue* find_column(const base::JsonValue& record, std::string_view name);

// Takes from `names` the columns that `record` has.
void erase_found(std::vector<std::string>& names, const base::JsonValue& record);

// `record` with another value in that column, which must be there.
base::JsonValue with_column(const base::JsonValue& record, std::string_view name,
                            base::JsonValue value);

// A text with columns in it: "accounts:{id}". "{{" is a brace. A value type.
class ColumnText {
public:
    ColumnText() = default;
    // Throws invalid_argument for a brace that does not end or a column without a name.
    explicit ColumnText(std::string_view text);

    bool empty() const { return pieces_.empty(); }
    // The columns it needs, each once.
    std::vector<std::string> columns() const;
    // Empty when a column is missing, empty, or no text, number or truth value.
    std::optional<std::string> fill(const base::JsonValue& record) const;

private:
    struct Piece {
        bool is_column;
        std::string text;
    };
    std::vector<Piece> pieces_;
};

// A time as exports have it: RFC 3339, also with a space for the 'T' and a short offset ("+02"), or
// seconds or milliseconds since 1970 as a number. `assume_utc` is for texts without an offset. As
// RFC 3339; empty when it is none.
std::optional<std::string> to_expiry(const base::JsonValue& value, bool assume_utc);

}  // namespace vault
