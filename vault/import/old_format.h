// How an application kept its secrets until now, and how they are opened: the formats of importing.
// Cryptography only; it knows no file, no column and no vault.
//
//   plain      as they are
//   envelope   {"__enc":1,"kid":"v1","iv":"<base64>","ct":"<base64 of ciphertext, then tag>"}, an
//              object or a text that holds one; AES-256-GCM under the key ring's key "v1"
//   gcm        AES-256-GCM in one text, in a layout that is given
//   cbc        AES-256-CBC with PKCS #7 padding in one text, as Node's createCipheriv gives it; it
//              authenticates nothing, so a damaged one may open to something else
//
// A layout says where the parts are in the text: "iv", "tag" (16 bytes) and "data". '+' stands
// between parts that are bytes behind each other, encoded together; any of : . , $ | stands between
// texts that are encoded on their own. "iv:data+tag", "iv+tag+data", "iv:tag:data", "iv:data".
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/bytes.h"
#include "base/json.h"
#include "base/secret_bytes.h"
#include "vault/import/old_keys.h"

namespace vault {

// Why a record can't be imported, for the report: says nothing of what is in it.
struct Unreadable {
    std::string reason;
};

enum class OldEncoding { hex, base64, base64url };  // hex of either case

// Where the parts of a ciphertext are in its text. A value type.
class OldLayout {
public:
    struct Parts {
        base::Bytes iv, data, tag;
    };

    // Throws invalid_argument saying what is wrong with it. `iv_bytes` is 1 to 64.
    OldLayout(std::string_view layout, OldEncoding encoding, std::size_t iv_bytes);

    bool has_tag() const;
    // Empty when the text does not have this layout.
    std::optional<Parts> split(std::string_view text) const;

private:
    enum class Part { iv, tag, data };
    bool split_group(const std::vector<Part>& group, std::string_view text, Parts& parts) const;

    OldEncoding encoding_;
    std::size_t iv_bytes_;
    char separator_ = '\0';
    std::vector<std::vector<Part>> groups_;
};

// What a secret was in its old form.
using OldSecret = std::variant<base::SecretBytes, Unreadable>;

// Opens secrets of one format. Implementations are safe to share between threads.
class OldFormat {
public:
    virtual ~OldFormat() = default;
    // The plaintext of what a column held. `bound` is what the ciphertext was bound to (additional
    // authenticated data); empty: nothing.
    virtual OldSecret open(const base::JsonValue& held, std::string_view bound) const = 0;
};

// Each throws invalid_argument when keys or layout are not what the format needs.
std::unique_ptr<OldFormat> envelope_format(OldKeys ring);
std::unique_ptr<OldFormat> gcm_format(OldKeys key, OldLayout layout);
std::unique_ptr<OldFormat> cbc_format(OldKeys key, OldLayout layout);

}  // namespace vault
