// Calls over a pool of connections: deadline, retry, and errors in words. Knows HTTP, not what the
// bodies mean.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <vector>

#include "kms/client/certificates.h"
#include "kms/client/client.h"
#include "kms/client/deadline_watch.h"
#include "kms/client/http_connection.h"

namespace kms {

// Throws invalid_argument unless `url` is https://host, https://host:port or with a bracketed IPv6
// address.
Endpoint parse_url(std::string_view url);

// Thread-safe.
class Transport final : private ClientCertificates::User {
public:
    // Throws as Client's constructor.
    explicit Transport(ClientConfig config);
    ~Transport() override;
    Transport(const Transport&) = delete;
    Transport& operator=(const Transport&) = delete;

    // The answer, whatever its status. A repeatable request is sent again after a lost answer or a
    // 503, any other only when it surely did not arrive; attempts begin within the retry budget, or
    // at a node that has not been asked, and end by the deadline of the configuration. Throws
    // unavailable when no answer came, invalid_argument when the request can't be sent.
    Answer call(const HttpRequest& given);

    const std::string& service() const noexcept { return config_.service; }
    std::size_t nodes() const noexcept { return nodes_.size(); }
    ClientCertificates& certificates() const noexcept { return *certificates_; }

private:
    struct Node {
        std::string url;
        Endpoint endpoint;
        std::vector<std::unique_ptr<HttpConnection>> idle{};  // the most recently used last
        Deadline avoided_until{};
    };
    // Gives its connection back when it ends.
    class Lease;
    static std::vector<Node> make_nodes(const ClientConfig& config);
    void certificates_changed() noexcept override;
    Node& choose_node();
    void make_room(const Node& chosen);
    std::unique_ptr<HttpConnection> take(Deadline deadline, Node*& node);
    void give_back(std::unique_ptr<HttpConnection> connection, Node& node) noexcept;
    void note(Node& node, bool is_well);
    std::size_t well_nodes();  // that are not avoided
    bool has_another_node();
    Answer call_unwatched(const HttpRequest& request);
    std::variant<Answer, NoAnswer> attempt(const HttpRequest& request, Deadline deadline,
                                           std::string& url);
    base::Error to_error(const NoAnswer& failure, const std::string& url, bool late) const;

    const ClientConfig config_;
    const base::SecretBytes bearer_;
    const std::shared_ptr<ClientCertificates> certificates_;
    std::mutex mutex_;
    std::condition_variable freed_;
    std::vector<Node> nodes_;  // as configured; never more or fewer
    std::size_t in_use_ = 0;
    DeadlineWatch watch_;
};

}  // namespace kms
