// The key service's C++ client: connections that are reused, deadlines, retry of what may be
// retried. For programs that seal data under Strongroom's master keys; it holds no policy and no
// key.
#pragma once

#include <chrono>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/bytes.h"
#include "base/error.h"
#include "base/json.h"
#include "base/key_commitment.h"
#include "base/secret_bytes.h"
#include "base/uuid.h"

namespace kms {

using EncryptionContext = std::map<std::string, std::string>;

// Who wants to see what each answer says of the service's audit log, to notice one that was rolled
// back or forked: kms/witness. Thread-safe; called on the threads of the calls. What it throws,
// the call throws.
class AnswerWatch {
public:
    virtual ~AnswerWatch() = default;
    // Before a call; what it returns comes back with the answer.
    virtual std::uint64_t before_call() = 0;
    // After an answer of status 2xx, with its header Strongroom-Checkpoint, "<origin> <size>
    // <root>"; empty when it has none.
    virtual void after_answer(std::uint64_t before, std::string_view head) = 0;
};

class ClientCertificates;

inline constexpr std::size_t max_nodes = 8;

struct ClientConfig {
    std::string url;  // https://host:port, nothing behind
    // Further nodes of the same service, as url, at most max_nodes with it. A node that fails is
    // avoided for a while: the first of them all that is not avoided is asked.
    std::vector<std::string> more_urls{};
    std::filesystem::path socket;       // connect to this UNIX socket; url names the server still
    std::filesystem::path ca;           // PEM: who signed the server's certificate
    std::filesystem::path certificate;  // PEM: the caller's own, presented to the server
    std::filesystem::path key;          // PEM; refused when others can read it
    // A bearer sent with every call, e.g. an API token; refused when others can read it. With it
    // certificate and key may be absent.
    std::filesystem::path bearer_file{};
    std::chrono::milliseconds connect_timeout{2000};
    std::chrono::milliseconds deadline{5000};  // of one call, retries included
    // How long after the beginning of a call another attempt may begin: a service that is down is
    // told of soon, and no thread of the caller's waits for it until the deadline. One attempt at
    // each further node may begin later.
    std::chrono::milliseconds retry_budget{500};
    std::chrono::milliseconds avoidance{5000};  // of a node that failed, while there is another
    std::size_t max_connections = 32;           // beyond it a call waits, within its deadline
    std::string service = "the key service";    // what messages call the other side
    AnswerWatch* watch = nullptr;               // must outlive the client; null: nobody
    // Stands for ca, certificate and key, which are not read then: for clients whose certificates
    // are to be read anew together (kms/client/certificates.h). Null: the client has its own.
    std::shared_ptr<ClientCertificates> certificates{};
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
    // W3C Trace Context of an item of unwrap_many() whose trace is not the call's: the service's
    // record names it with the item. Empty: the call's. A call on one has that of its options.
    std::string traceparent{};
};

// Of one item: the data key, or why not.
using UnwrapResult = std::variant<base::SecretBytes, base::Error>;

// What is to be wrapped anew: under which key, bound to what.
struct RewrapItem {
    base::Bytes wrapped;
    EncryptionContext context;                    // the one it has now
    std::string to_key;                           // UUID or "alias/<name>"; empty: the key it has
    std::optional<EncryptionContext> to_context;  // absent: the context it has
};

// What the service encrypted, with the key it did it under.
struct Enveloped {
    base::Bytes bytes;  // a wrapped data key or a ciphertext: kms/envelope.h, version 1
    base::Uuid key_id;
    std::uint32_t key_version = 0;
    std::optional<base::KeyCommitment> commitment{};  // of a data key, where it was asked for
};

// Of one item: the data key wrapped anew, or why not.
using RewrapResult = std::variant<Enveloped, base::Error>;

// Items of one call, and data keys made by one.
inline constexpr std::size_t max_batch_items = 1000;

struct CallOptions {
    std::string traceparent;      // W3C Trace Context, passed on when not empty
    std::string idempotency_key;  // for what changes something; refused elsewhere
    bool repeatable = false;      // sent twice is done once: tried again after a lost answer or 503
};

// What came back, whatever its status. The body may carry secrets.
struct Answer {
    int status = 0;
    base::WipedString body;
    std::string checkpoint;  // the header Strongroom-Checkpoint: see AnswerWatch
};

class Transport;

// `text` as one segment of a path: everything but unreserved characters as %XX (RFC 3986 2.1).
std::string path_segment(std::string_view text);
// The path of a key that is named by its UUID or as "alias/<name>": "/v1/keys/alias/credentials".
std::string key_path(std::string_view key);

// Thread-safe. Every function throws base::Error with the code that the service answered;
// unavailable also for network trouble and a passed deadline; internal for an answer that makes no
// sense; invalid_argument for what can't be sent. No message or detail holds a body.
// Retried inside, within the retry budget and the deadline: connection refused; unwrap, decrypt,
// reads and calls with an idempotency key after a lost answer or 503. What makes a key or an
// encryption is retried only when the request surely did not arrive. Each retry goes to the next
// node where there are several.
class Client {
public:
    // Reads the files; connects with the first call. Throws invalid_argument naming the field or
    // the file that is wrong.
    explicit Client(ClientConfig config);
    ~Client();
    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;

    // `count` fresh data keys (1 to max_batch_items) of `bytes` (16 to 64) under the primary
    // version of `key` (a UUID or "alias/<name>"), bound to `context`.
    std::vector<DataKey> create_data_keys(std::string_view key, const EncryptionContext& context,
                                          std::size_t bytes = 32, std::size_t count = 1,
                                          bool with_plaintext = true,
                                          const CallOptions& options = {});

    // One. Throws integrity_failure when it does not open.
    base::SecretBytes unwrap(const UnwrapItem& item, const CallOptions& options = {});
    // Up to max_batch_items in one call, under any mix of keys, each with its own result, in order.
    std::vector<UnwrapResult> unwrap_many(std::span<const UnwrapItem> items,
                                          const CallOptions& options = {});

    // The same data key wrapped under the primary version of its key or of another, bound to the
    // same context or to another; the plaintext never leaves the service. What is as asked already
    // comes back unchanged. Throws integrity_failure when it does not open.
    Enveloped rewrap(const RewrapItem& item, const CallOptions& options = {});
    std::vector<RewrapResult> rewrap_many(std::span<const RewrapItem> items,
                                          const CallOptions& options = {});
    // The same; each comes with the commitment of its data key, for who keeps that beside what the
    // key sealed (base/key_commitment.h) and wants to see that it still is the same one.
    std::vector<RewrapResult> rewrap_committed(std::span<const RewrapItem> items,
                                               const CallOptions& options = {});

    // Text of 1 to 4096 bytes, encrypted in the token under the primary version of `key`.
    Enveloped encrypt(std::string_view key, base::ByteView plaintext,
                      const EncryptionContext& context, const CallOptions& options = {});
    // Throws integrity_failure when it does not open.
    base::SecretBytes decrypt(base::ByteView ciphertext, const EncryptionContext& context,
                              const CallOptions& options = {});

    // Any other call: the parsed answer of a 2xx, for tools. `body` is JSON or empty.
    base::JsonValue call(std::string_view method, std::string_view path, std::string_view body,
                         const CallOptions& options = {});
    // The same without parsing: /metrics, /openapi.json.
    std::string get_text(std::string_view path);
    // Any call and any status, once: no retry after a lost answer, no exception for a refusal.
    Answer send(std::string_view method, std::string_view path, std::string_view body = {},
                const CallOptions& options = {});

    // Throws unavailable, naming the checks that fail, when no node of the service is ready.
    void check_ready();

    // Reads ca, certificate and key of the configuration anew, without a call being lost: what
    // ClientCertificates::reload() does, throws and returns, for all clients that share them. The
    // bearer is not read again. For any thread.
    std::map<std::string, std::string> reload_certificates();

private:
    enum class Repeat { no, yes };  // after a lost answer or a 503
    base::JsonValue post(std::string_view path, const base::JsonWriter& body, Repeat repeat,
                         const CallOptions& options);

    std::unique_ptr<Transport> transport_;
};

}  // namespace kms
