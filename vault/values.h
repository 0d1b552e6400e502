// Values: secrets of applications that keep their own database. The vault seals and opens them and
// keeps nothing. Every method takes the Grants of its action; owner and context of a value are what
// its grant names. No HTTP in here.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "base/json.h"
#include "base/secret_bytes.h"
#include "server/authorizer.h"
#include "vault/data_keys.h"

namespace vault {

inline constexpr std::size_t max_values = 100;  // of one call

// The resource of the values that `owner` keeps under `context`, for the Authorizer.
server::Resource value_resource(const std::string& owner, const std::string& context);

// Whether a value that is not sealed passes through an open as it is, for the time in which an
// application's old rows are sealed.
struct Passthrough {
    bool on = false;
    std::optional<base::Time> until;  // from then on it is refused; empty: no end
};

// One value and the right to it; both must outlive the call.
struct ValueJob {
    const server::Grant* grant = nullptr;
    const base::JsonValue* value = nullptr;
};

struct SealedValue {
    // The enumerators are the words of the API.
    enum class State {
        sealed,     // it was not
        unchanged,  // it was, under the newest master key version
        rewrapped,  // it was; its data key is wrapped anew, its ciphertext is the same
    };
    std::string text;  // vault/sealed.h
    MasterKeyVersion master_key;
    State state = State::sealed;
};
std::string_view to_string(SealedValue::State state) noexcept;

struct OpenedValue {
    base::SecretBytes text;                      // compact JSON
    std::optional<MasterKeyVersion> master_key;  // empty: it was not sealed, and passed through
    bool reseal = false;          // it is not sealed, or not under the newest master key version
    bool key_from_cache = false;  // its data key was not unwrapped for this
};

using SealOutcome = std::variant<SealedValue, base::Error>;
using OpenOutcome = std::variant<OpenedValue, base::Error>;

// Thread-safe. `keys` and `clock` must outlive it. It keeps no value and no key between calls. Jobs
// are of one owner, at most max_values. An outcome's error is
//   invalid_argument   the value is too large, or sealed in another format; to open: not sealed
//   integrity_failure  it is marked as sealed and does not open, whatever the cause
// Both methods throw unavailable (the key service), and internal for a grant of another action.
class ValueService {
public:
    ValueService(DataKeys& keys, const base::Clock& clock, Passthrough passthrough);

    // Seals each value, any JSON of at most max_plaintext_bytes in compact form. What is sealed
    // already, or is a text that holds sealed JSON, is not sealed again: it gets the newest master
    // key version. Everything given back was opened by way of the key service. At most three calls
    // to it, however many values: one to make data keys, one to rewrap, one to unwrap.
    std::vector<SealOutcome> seal(std::span<const ValueJob> jobs, const std::string& traceparent);

    // What was sealed, by one call to the key service.
    std::vector<OpenOutcome> open(std::span<const ValueJob> jobs, const std::string& traceparent);

private:
    base::Error not_sealed() const;
    bool passes_plaintext() const;

    DataKeys& keys_;
    const base::Clock& clock_;
    const Passthrough passthrough_;
};

}  // namespace vault
