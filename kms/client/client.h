// The key service's C++ client: connections that are reused, deadlines, retry of what may be
// retried. For programs that seal data under Strongroom's master keys; it holds no policy and no
// key.
#pragma once

#include <chrono>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/bytes.h"
#include "base/error.h"
#include "base/json.h"
#include "base/secret_bytes.h"
#include "base/uuid.h"

namespace kms {

using EncryptionContext = std::map<std::string, std::string>;

struct ClientConfig {
    std::string url;                    // https://host:port, nothing behind
    std::filesystem::path ca;           // PEM: who signed the server's certificate
    std::filesystem::path certificate;  // PEM: the caller's own, presented to the server
    std::filesystem::path key;          // PEM; refused when others can read it
    std::chrono::milliseconds connect_timeout{2000};
    std::chrono::milliseconds deadline{5000};  // of one call, retries included
    std::size_t max_connections = 32;          // beyond it a call waits, within its deadline
    std::string service = "the key service";   // what messages call the other side
};

struct DataKey {
    base::SecretBytes plaintext;  // empty when made without plaintext
    base::Bytes wrapped;          // kms/envelope.h, version 1
    base::Uuid key_id;
    std::uint32_t key_version = 0;
};

struct UnwrapItem {
    base::Bytes wrapped;
    EncryptionContext context;
};

// Of one item: the data key, or why not.
using UnwrapResult = std::variant<base::SecretBytes, base::Error>;

struct CallOptions {
    std::string traceparent;      // W3C Trace Context, passed on when not empty
    std::string idempotency_key;  // for mutations
};

// What came back, whatever its status. The body may carry secrets.
struct Answer {
    int status = 0;
    base::WipedString body;
};

class Transport;

// `text` as one segment of a path: everything but unreserved characters as %XX (RFC 3986 2.1).
std::string path_segment(std::string_view text);
// The path of a key that is named by its UUID or as "alias/<name>": "/v1/keys/alias/credentials".
std::string key_path(std::string_view key);

// Thread-safe. Every function throws base::Error with the code that the service answered;
// unavailable also for network trouble and a passed deadline; internal for an answer that makes no
// sense; invalid_argument for what can't be sent. No message or detail holds a body.
// Retried inside, within the deadline: connection refused, and unwrap and reads after a lost answer
// or 503; creating is retried only when the request surely did not arrive.
class Client {
public:
    // Reads the files; connects with the first call. Throws invalid_argument naming the field or
    // the file that is wrong.
    explicit Client(ClientConfig config);
    ~Client();
    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;

    // `count` fresh data keys (1 to 100) of `bytes` (16 to 64) under the primary version of `key`
    // (a UUID or "alias/<name>"), bound to `context`.
    std::vector<DataKey> create_data_keys(std::string_view key, const EncryptionContext& context,
                                          std::size_t bytes = 32, std::size_t count = 1,
                                          bool with_plaintext = true,
                                          const CallOptions& options = {});

    // One. Throws integrity_failure when it does not open.
    base::SecretBytes unwrap(const UnwrapItem& item, const CallOptions& options = {});
    // Up to 100 in one call, each with its own result, in order.
    std::vector<UnwrapResult> unwrap_many(std::span<const UnwrapItem> items,
                                          const CallOptions& options = {});

    // Any other call: the parsed answer of a 2xx, for tools. `body` is JSON or empty.
    base::JsonValue call(std::string_view method, std::string_view path, std::string_view body,
                         const CallOptions& options = {});
    // The same without parsing: /metrics, /openapi.json.
    std::string get_text(std::string_view path);
    // Any call and any status, once: no retry after a lost answer, no exception for a refusal.
    Answer send(std::string_view method, std::string_view path, std::string_view body = {},
                const CallOptions& options = {});

    // Throws unavailable, naming the checks that fail, when the service is not ready.
    void check_ready();

private:
    std::unique_ptr<Transport> transport_;
};

}  // namespace kms
