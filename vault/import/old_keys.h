// The keys under which an application encrypted until now: read once, from a private file or typed
// in, held in secret memory, wiped at the end. They are used for reading only.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/secret_bytes.h"

namespace vault {

inline constexpr std::size_t old_key_bytes = 32;  // AES-256
inline constexpr std::size_t max_old_keys_bytes = 64UL * 1024;

// How a key is written, or made from what is written. The words of the option:
//   base64, hex     32 bytes so written
//   text            32 characters that are the key
//   sha256          the SHA-256 of a text of any length
//   sha256-base64   the first 32 characters of the base64 of that SHA-256
//   scrypt          scrypt of a text with a salt and the costs that Node takes unasked (RFC 7914:
//                   N 16384, r 8, p 1)
enum class OldKeyEncoding { base64, hex, text, sha256, sha256_base64, scrypt };

// Empty for another word.
std::optional<OldKeyEncoding> to_old_key_encoding(std::string_view word);

struct OldKeyForm {
    OldKeyEncoding encoding = OldKeyEncoding::base64;
    std::string salt{};  // for scrypt
};

// Not thread-safe to move; reading it from several threads is.
class OldKeys {
public:
    OldKeys() = default;

    // One key, without a name. Throws invalid_argument, never quoting it, when it is none.
    static OldKeys one(std::string_view text, const OldKeyForm& form);
    // A key ring: {"v1":"<key>",…}, or "v1:<key>" in lines or with commas between ('=' for ':' is
    // taken, too). Throws invalid_argument naming the entry that is wrong by its number.
    static OldKeys ring(std::string_view text, const OldKeyForm& form);

    // Null when there is none of that name.
    const base::SecretBytes* find(std::string_view name) const;
    // The one without a name; null when this is a key ring.
    const base::SecretBytes* unnamed() const { return find({}); }

private:
    void add(std::string_view name, std::string_view text, const OldKeyForm& form,
             const std::string& what);

    std::map<std::string, base::SecretBytes, std::less<>> keys_;
};

}  // namespace vault
