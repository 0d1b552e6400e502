#include "kms/client/transport.h"

#include <sys/un.h>

#include <algorithm>
#include <charconv>
#include <thread>

#include "base/file.h"
#include "base/random.h"

namespace kms {
namespace {

using base::Error;
using base::ErrorCode;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds first_pause{20};
constexpr milliseconds longest_pause{200};
constexpr int busy_status = 503;

[[noreturn]] void refuse_url(const char* why) {
    throw Error(ErrorCode::invalid_argument,
                std::string("\"url\" must be like https://127.0.0.1:7443: ") + why);
}

int parse_port(std::string_view text) {
    int port = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
    if (error != std::errc() || end != text.data() + text.size() || port < 1 || port > 65535) {
        refuse_url("the port is a number from 1 to 65535");
    }
    return port;
}

bool is_host_character(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '-' || c == ':';
}

// What ends a line or a field must not get into a request's head.
void require_visible(std::string_view text, const char* what) {
    const auto is_visible = [](char c) { return c > ' ' && c < '\x7f'; };
    if (!std::all_of(text.begin(), text.end(), is_visible)) {
        throw Error(ErrorCode::invalid_argument,
                    std::string(what) + " may hold visible ASCII characters only");
    }
}

void require_sendable(const HttpRequest& request) {
    if (request.path.empty() || request.path.front() != '/') {
        throw Error(ErrorCode::invalid_argument, "the path must begin with '/'");
    }
    require_visible(request.method, "the method");
    require_visible(request.path, "the path");
    for (const auto& [name, value] : request.headers) require_visible(value, name.c_str());
}

// Empty when there is none.
base::SecretBytes read_bearer(const std::filesystem::path& file) {
    if (file.empty()) return {};
    base::SecretBytes bearer = base::read_secret_file(file);
    require_visible(bearer.expose_text(), "the bearer");
    return bearer;
}

// Half of `pause` and a random part of the other half, so that callers that failed together don't
// come back together.
milliseconds with_jitter(milliseconds pause) {
    std::uint8_t random = 0;
    base::random_bytes({&random, 1});
    return pause / 2 + pause * random / 512;
}

// False when `latest`, the end of the budget or the deadline, comes first.
bool pause_before_retry(milliseconds& pause, Deadline latest) {
    const auto length = with_jitter(pause);
    if (steady_clock::now() + length >= latest) return false;
    std::this_thread::sleep_for(length);
    pause = std::min(pause * 2, longest_pause);
    return true;
}

}  // namespace

Endpoint parse_url(std::string_view url) {
    constexpr std::string_view scheme = "https://";
    constexpr int default_port = 443;
    if (!url.starts_with(scheme)) refuse_url("it begins with https://");
    url.remove_prefix(scheme.size());
    Endpoint endpoint{"", default_port};
    if (url.starts_with('[')) {
        const auto end = url.find(']');
        if (end == std::string_view::npos) refuse_url("the bracket does not end");
        endpoint.host = url.substr(1, end - 1);
        url.remove_prefix(end + 1);
    } else {
        endpoint.host = url.substr(0, url.find(':'));
        url.remove_prefix(endpoint.host.size());
    }
    const std::string& host = endpoint.host;
    if (host.empty() || !std::all_of(host.begin(), host.end(), is_host_character)) {
        refuse_url("only a host name or an IP address, and a port");
    }
    if (!url.empty()) {
        if (url.front() != ':') refuse_url("nothing may follow the host but a port");
        endpoint.port = parse_port(url.substr(1));
    }
    return endpoint;
}

namespace {

Endpoint endpoint_of(const std::string& url, const std::filesystem::path& socket) {
    Endpoint endpoint = parse_url(url);
    endpoint.socket = socket;
    if (socket.native().size() >= sizeof(sockaddr_un::sun_path)) {
        throw Error(ErrorCode::invalid_argument,
                    "the path of a UNIX socket has at most 107 bytes: " + socket.string());
    }
    return endpoint;
}

}  // namespace

std::vector<Transport::Node> Transport::make_nodes(const ClientConfig& config) {
    std::vector<std::string> urls{config.url};
    urls.insert(urls.end(), config.more_urls.begin(), config.more_urls.end());
    if (urls.size() > max_nodes) {
        throw Error(ErrorCode::invalid_argument,
                    "a service has at most " + std::to_string(max_nodes) + " nodes");
    }
    if (urls.size() > 1 && !config.socket.empty()) {
        throw Error(ErrorCode::invalid_argument, "a UNIX socket leads to one node only");
    }
    std::vector<Node> nodes;
    for (std::string& url : urls) {
        Endpoint endpoint = endpoint_of(url, config.socket);
        nodes.push_back({std::move(url), std::move(endpoint)});
        nodes.back().idle.reserve(config.max_connections);
    }
    return nodes;
}

class Transport::Lease {
public:
    Lease(Transport& transport, Deadline deadline)
        : transport_(transport), connection_(transport.take(deadline, node_)) {}
    ~Lease() {
        if (connection_) transport_.give_back(std::move(connection_), *node_);
    }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    HttpConnection* get() const { return connection_.get(); }
    Node& node() const { return *node_; }  // when there is a connection

private:
    Transport& transport_;
    Node* node_ = nullptr;
    std::unique_ptr<HttpConnection> connection_;
};

Transport::Transport(ClientConfig config)
    : config_(std::move(config)),
      bearer_(read_bearer(config_.bearer_file)),
      certificates_(config_.certificates ? config_.certificates
                                         : std::make_shared<ClientCertificates>(
                                               config_.ca, config_.certificate, config_.key)),
      nodes_(make_nodes(config_)),
      watch_(config_.deadline) {
    certificates_->join(*this);
}

Transport::~Transport() { certificates_->leave(*this); }

// A certificate that is about to end is not used further. What comes back later give_back() closes.
void Transport::certificates_changed() noexcept {
    const std::lock_guard lock(mutex_);
    const auto now = certificates_->current();
    for (Node& node : nodes_) {
        std::erase_if(node.idle, [&now](const auto& one) { return !one->is_made_with(*now); });
    }
}

// The first that is not avoided, or the one that is avoided no longer than the others.
Transport::Node& Transport::choose_node() {
    const Deadline now = steady_clock::now();
    const auto well = std::find_if(nodes_.begin(), nodes_.end(),
                                   [now](const Node& node) { return node.avoided_until <= now; });
    if (well != nodes_.end()) return *well;
    return *std::min_element(nodes_.begin(), nodes_.end(), [](const Node& left, const Node& right) {
        return left.avoided_until < right.avoided_until;
    });
}

// Idle connections to other nodes count as well: the oldest of them goes for a new one.
void Transport::make_room(const Node& chosen) {
    std::size_t open = in_use_;
    for (const Node& node : nodes_) open += node.idle.size();
    if (open < config_.max_connections) return;
    for (Node& node : nodes_) {
        if (&node == &chosen || node.idle.empty()) continue;
        node.idle.erase(node.idle.begin());
        return;
    }
}

// Null when none came free in time.
std::unique_ptr<HttpConnection> Transport::take(Deadline deadline, Node*& node) {
    std::unique_lock lock(mutex_);
    const auto is_free = [this] { return in_use_ < config_.max_connections; };
    if (!freed_.wait_until(lock, deadline, is_free)) return nullptr;
    node = &choose_node();
    // One caller finds out how a node is that failed; the others go elsewhere meanwhile.
    if (node->avoided_until != Deadline{})
        node->avoided_until = steady_clock::now() + config_.avoidance;
    std::unique_ptr<HttpConnection> connection;
    if (node->idle.empty()) {
        make_room(*node);
        connection = std::make_unique<HttpConnection>(node->endpoint, certificates_->current(),
                                                      config_.connect_timeout);
    } else {
        connection = std::move(node->idle.back());
        node->idle.pop_back();
    }
    ++in_use_;
    return connection;
}

void Transport::give_back(std::unique_ptr<HttpConnection> connection, Node& node) noexcept {
    {
        const std::lock_guard lock(mutex_);
        if (connection->is_made_with(*certificates_->current())) {
            node.idle.push_back(std::move(connection));  // room was reserved
        }
        --in_use_;
    }
    freed_.notify_one();
}

void Transport::note(Node& node, bool is_well) {
    const std::lock_guard lock(mutex_);
    node.avoided_until = is_well ? Deadline{} : steady_clock::now() + config_.avoidance;
}

std::size_t Transport::well_nodes() {
    const std::lock_guard lock(mutex_);
    const Deadline now = steady_clock::now();
    return static_cast<std::size_t>(
        std::count_if(nodes_.begin(), nodes_.end(),
                      [now](const Node& node) { return node.avoided_until <= now; }));
}

bool Transport::has_another_node() {
    const std::lock_guard lock(mutex_);
    return choose_node().avoided_until <= steady_clock::now();
}

std::variant<Answer, NoAnswer> Transport::attempt(const HttpRequest& request, Deadline deadline,
                                                  std::string& url) {
    const Lease lease(*this, deadline);
    if (lease.get() == nullptr) return NoAnswer{NoAnswer::Kind::not_sent, "all connections busy"};
    const DeadlineWatch::Entry entry(watch_, *lease.get(), deadline);
    auto outcome = lease.get()->exchange(request, deadline);
    url = lease.node().url;
    const auto* answer = std::get_if<Answer>(&outcome);
    const auto* failure = std::get_if<NoAnswer>(&outcome);
    note(lease.node(), answer != nullptr ? answer->status != busy_status
                                         : failure->kind == NoAnswer::Kind::too_large);
    return outcome;
}

Answer Transport::call(const HttpRequest& given) {
    require_sendable(given);
    HttpRequest request = given;
    request.bearer = bearer_.expose_text();
    if (config_.watch == nullptr) return call_unwatched(request);
    const std::uint64_t before = config_.watch->before_call();
    Answer answer = call_unwatched(request);
    const bool good = answer.status >= 200 && answer.status < 300;
    if (good) config_.watch->after_answer(before, answer.checkpoint);
    return answer;
}

Answer Transport::call_unwatched(const HttpRequest& request) {
    const Deadline begin = steady_clock::now();
    const Deadline deadline = begin + config_.deadline;
    const Deadline latest_retry = begin + std::min(config_.retry_budget, config_.deadline);
    milliseconds pause = first_pause;
    std::string url = config_.url;
    for (std::size_t others = nodes_.size() - 1;;) {
        // A node that hangs leaves time for another one.
        const Deadline now = steady_clock::now();
        const bool leaves_time = request.repeatable && others > 0 && well_nodes() > 1;
        auto outcome = attempt(request, leaves_time ? now + (deadline - now) / 2 : deadline, url);
        auto* answer = std::get_if<Answer>(&outcome);
        const bool done =
            answer != nullptr && (answer->status != busy_status || !request.repeatable);
        if (done) return std::move(*answer);
        const auto* failure = std::get_if<NoAnswer>(&outcome);
        const bool again = failure == nullptr || failure->kind == NoAnswer::Kind::not_sent ||
                           (failure->kind == NoAnswer::Kind::untrusted && nodes_.size() > 1) ||
                           (failure->kind == NoAnswer::Kind::lost && request.repeatable);
        const bool elsewhere =
            again && others > 0 && steady_clock::now() < deadline && has_another_node();
        if (elsewhere) {
            --others;
            continue;
        }
        if (again && pause_before_retry(pause, latest_retry)) continue;
        if (answer != nullptr) return std::move(*answer);
        throw to_error(*failure, url, steady_clock::now() >= deadline);
    }
}

Error Transport::to_error(const NoAnswer& failure, const std::string& url, bool late) const {
    const std::string detail = url + ": " + failure.reason;
    switch (failure.kind) {
        case NoAnswer::Kind::not_sent:
            return {ErrorCode::unavailable, config_.service + " can't be reached", detail};
        case NoAnswer::Kind::lost:
            return {
                ErrorCode::unavailable,
                config_.service + (late ? " did not answer in time" : " broke the connection off"),
                detail};
        case NoAnswer::Kind::untrusted:
            return {ErrorCode::unavailable,
                    config_.service + " does not show a certificate that can be trusted", detail};
        case NoAnswer::Kind::too_large:
            break;
    }
    return {ErrorCode::unavailable, config_.service + " sent an answer that is too large", detail};
}

}  // namespace kms
