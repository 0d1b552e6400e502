#include "server/https_client.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <httplib.h>
#include <netdb.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <condition_variable>
#include <mutex>
#include <set>
#include <system_error>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/stack.h"

namespace server {
namespace {

using base::Error;
using base::ErrorCode;
using std::chrono::steady_clock;

constexpr std::size_t max_ca_bytes = 1024UL * 1024;
constexpr int default_port = 443;
constexpr std::string_view https_scheme = "https://";

[[noreturn]] void refuse_address(const std::string& why) {
    throw Error(ErrorCode::invalid_argument, "must be like https://host:port/path: " + why);
}

bool is_visible(std::string_view text) {
    return std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < 0x7F; });
}

bool is_header_value(std::string_view text) {
    return std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c < 0x7F; });
}

[[noreturn]] void refuse_request() {
    throw Error(ErrorCode::invalid_argument, "what is asked for can't be sent");
}

int port_of(std::string_view text) {
    int port = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
    if (error != std::errc() || end != text.data() + text.size() || port < 1 || port > 65535) {
        refuse_address("the port is a number from 1 to 65535");
    }
    return port;
}

// Ends an exchange that lasts longer than it may, by shutting the socket down under it: the
// library's own timeouts begin anew with every byte that a slow peer sends.
class ExchangeLimit {
public:
    explicit ExchangeLimit(steady_clock::time_point deadline)
        : thread_([this, deadline](const std::stop_token& stop) { wait(stop, deadline); }) {}
    ~ExchangeLimit() {
        thread_.request_stop();
        thread_.join();
        if (socket_ >= 0) ::close(socket_);
    }
    ExchangeLimit(const ExchangeLimit&) = delete;
    ExchangeLimit& operator=(const ExchangeLimit&) = delete;

    void end() noexcept {
        const std::lock_guard lock(mutex_);
        over_ = true;
        shut_down();
    }
    bool is_over() noexcept {
        const std::lock_guard lock(mutex_);
        return over_;
    }

    // Takes a second descriptor of the socket, since the library closes its own when it likes.
    void hold(int socket) noexcept {
        const std::lock_guard lock(mutex_);
        if (socket_ >= 0) ::close(socket_);
        socket_ = ::fcntl(socket, F_DUPFD_CLOEXEC, 0);
        if (over_) shut_down();
    }

private:
    void wait(const std::stop_token& stop, steady_clock::time_point deadline) {
        std::unique_lock lock(mutex_);
        changed_.wait_until(lock, stop, deadline, [] { return false; });
        if (stop.stop_requested()) return;
        over_ = true;
        shut_down();
    }
    void shut_down() const noexcept {
        if (socket_ >= 0) ::shutdown(socket_, SHUT_RDWR);
    }

    std::mutex mutex_;
    std::condition_variable_any changed_;
    int socket_ = -1;
    bool over_ = false;
    std::jthread thread_;  // the last: it uses the others
};

// The numeric addresses of a host, by a thread that nobody has to wait for.
class NameLookup {
public:
    static std::shared_ptr<NameLookup> begin(const std::string& host) {
        auto lookup = std::make_shared<NameLookup>();
        std::thread([lookup, host] { lookup->run_to_its_end(host); }).detach();
        return lookup;
    }

    bool is_done() {
        const std::lock_guard lock(mutex_);
        return done_;
    }
    // Empty when there are none, or when it takes until `deadline` or until `given_up` is true.
    template <typename GivenUp>
    std::vector<std::string> wait(steady_clock::time_point deadline, GivenUp given_up) {
        constexpr std::chrono::milliseconds look{20};
        std::unique_lock lock(mutex_);
        while (!done_ && !given_up() && steady_clock::now() < deadline) {
            changed_.wait_for(lock, look);
        }
        return addresses_;
    }

private:
    // Whatever comes of it: nobody may wait for it in vain, and nothing may leave its thread.
    void run_to_its_end(const std::string& host) noexcept {
        try {
            find(host);
        } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch): no address was found
        }
        const std::lock_guard lock(mutex_);
        done_ = true;
        changed_.notify_all();
    }
    void find(const std::string& host) {
        addrinfo hints{};
        hints.ai_family = AF_UNSPEC;
        hints.ai_socktype = SOCK_STREAM;
        addrinfo* found = nullptr;
        if (::getaddrinfo(host.c_str(), nullptr, &hints, &found) != 0) return;
        const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owned(found, &::freeaddrinfo);
        const std::lock_guard lock(mutex_);
        for (const addrinfo* each = found; each != nullptr; each = each->ai_next) {
            std::array<char, NI_MAXHOST> text{};
            if (::getnameinfo(each->ai_addr, each->ai_addrlen, text.data(), text.size(), nullptr, 0,
                              NI_NUMERICHOST) == 0) {
                addresses_.emplace_back(text.data());
            }
        }
    }

    std::mutex mutex_;
    std::condition_variable changed_;
    bool done_ = false;
    std::vector<std::string> addresses_;
};

}  // namespace

struct HttpsClient::Target {
    explicit Target(HttpsConfig the_config) : config(std::move(the_config)) { read_url(); }

    void read_url() {
        std::string_view rest = config.url;
        if (!rest.starts_with(https_scheme)) refuse_address("it begins with https://");
        if (!is_visible(rest) || rest.find_first_of("?#@\\") != std::string_view::npos) {
            refuse_address("no query, fragment, name or blank");
        }
        rest.remove_prefix(https_scheme.size());
        const std::size_t slash = std::min(rest.find('/'), rest.size());
        path = rest.substr(slash);
        read_host(rest.substr(0, slash));
    }

    void read_host(std::string_view text) {
        if (text.starts_with('[')) {
            const std::size_t end = text.find(']');
            if (end == std::string_view::npos) refuse_address("the bracket does not end");
            host = text.substr(1, end - 1);
            text.remove_prefix(end + 1);
        } else {
            host = text.substr(0, text.find(':'));
            text.remove_prefix(host.size());
        }
        if (host.empty()) refuse_address("the host is missing");
        if (text.empty()) return;
        if (text.front() != ':') refuse_address("nothing may follow the host but a port");
        port = port_of(text.substr(1));
    }

    bool is_numeric_host() const {
        in6_addr address{};
        return ::inet_pton(AF_INET, host.c_str(), &address) == 1 ||
               ::inet_pton(AF_INET6, host.c_str(), &address) == 1;
    }

    // The library checks names in a way of its own; OpenSSL's is in force before.
    void set_tls(httplib::SSLClient& client) const {
        SSL_CTX* context = client.ssl_context();
        X509_VERIFY_PARAM* rules = context == nullptr ? nullptr : SSL_CTX_get0_param(context);
        const bool good =
            rules != nullptr && SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) == 1 &&
            (is_numeric_host() ? X509_VERIFY_PARAM_set1_ip_asc(rules, host.c_str())
                               : X509_VERIFY_PARAM_set1_host(rules, host.data(), host.size())) == 1;
        if (!good) {
            ERR_clear_error();
            throw Error(ErrorCode::internal, "internal error", "TLS could not be set up");
        }
        X509_VERIFY_PARAM_set_hostflags(rules, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
        // What was received is not left in the connection's buffer.
        SSL_CTX_set_options(context, SSL_OP_CLEANSE_PLAINTEXT);
        // Without a file the library takes the system's authorities.
        if (!config.ca.empty()) client.set_ca_cert_path(config.ca.string());
        client.enable_server_certificate_verification(true);
    }

    httplib::Request request_for(const HttpsRequest& wanted) const {
        if (!is_visible(wanted.more) || !is_header_value(wanted.authorization) ||
            !is_header_value(wanted.content_type)) {
            refuse_request();
        }
        httplib::Request request;
        request.method = to_string(wanted.method);
        request.path = path;
        if (!wanted.more.empty()) {  // "/base/" and "/base" are one place to add to
            while (request.path.ends_with('/')) request.path.pop_back();
            request.path += wanted.more;
        }
        if (request.path.empty()) request.path = "/";
        request.set_header("Accept", "application/json");
        request.set_header("Accept-Encoding", "identity");
        if (!wanted.authorization.empty()) {
            request.set_header("Authorization", std::string(wanted.authorization));
        }
        if (!wanted.content_type.empty()) {
            request.set_header("Content-Type", std::string(wanted.content_type));
        }
        request.body = wanted.body;
        return request;
    }

    Error no_answer(const std::string& reason) const {
        return {ErrorCode::unavailable, "another service did not answer",
                config.url + ": " + reason};
    }

    // Where the host is; as many as ask at once share one look-up.
    std::vector<std::string> addresses(steady_clock::time_point deadline, ExchangeLimit& limit) {
        if (is_numeric_host()) return {host};
        std::shared_ptr<NameLookup> shared;
        {
            const std::lock_guard lock(mutex);
            if (!lookup || lookup->is_done()) lookup = NameLookup::begin(host);
            shared = lookup;
        }
        return shared->wait(deadline, [&limit] { return limit.is_over(); });
    }

    // Listed, to be broken off, for its life.
    class UnderWay {
    public:
        UnderWay(Target& target, ExchangeLimit& limit) : target_(target), limit_(limit) {
            const std::lock_guard lock(target_.mutex);
            target_.under_way.insert(&limit_);
            if (target_.cancelled) limit_.end();
        }
        ~UnderWay() {
            const std::lock_guard lock(target_.mutex);
            target_.under_way.erase(&limit_);
        }
        UnderWay(const UnderWay&) = delete;
        UnderWay& operator=(const UnderWay&) = delete;

    private:
        Target& target_;
        ExchangeLimit& limit_;
    };
    void cancel() noexcept {
        const std::lock_guard lock(mutex);
        cancelled = true;
        for (ExchangeLimit* limit : under_way) limit->end();
    }

    // One attempt, at one address. False when nobody listens there.
    bool try_at(const std::string& address, httplib::Request& request, ExchangeLimit& limit,
                HttpsAnswer& answer) const;

    HttpsConfig config;
    std::string host;
    int port = default_port;
    std::string path;
    std::mutex mutex;  // of what follows
    std::set<ExchangeLimit*> under_way;
    bool cancelled = false;
    std::shared_ptr<NameLookup> lookup;
};

bool HttpsClient::Target::try_at(const std::string& address, httplib::Request& request,
                                 ExchangeLimit& limit, HttpsAnswer& answer) const {
    httplib::SSLClient client(host, port);
    set_tls(client);
    if (address != host) client.set_hostname_addr_map({{host, address}});
    client.set_connection_timeout(config.deadline);
    client.set_read_timeout(config.deadline);
    client.set_write_timeout(config.deadline);
    client.set_tcp_nodelay(true);
    client.set_follow_location(false);
    client.set_decompress(false);
    client.set_keep_alive(false);
    client.set_socket_options([&limit](socket_t socket) { limit.hold(socket); });
    httplib::Response response;
    httplib::Error error = httplib::Error::Success;
    try {
        const base::StackWiped wiped;  // the library reads bodies through a buffer there
        if (!client.send(request, response, error)) {
            if (error == httplib::Error::Connection) return false;
            throw no_answer(httplib::to_string(error));
        }
    } catch (const Error&) {
        throw;
    } catch (const std::bad_alloc&) {
        throw;
    } catch (const std::exception& failure) {
        throw no_answer(failure.what());
    }
    answer.status = response.status;
    return true;
}

HttpsClient::HttpsClient(HttpsConfig config)
    : target_(std::make_unique<Target>(std::move(config))) {
    const auto& ca = target_->config.ca;
    if (ca.empty()) return;
    base::read_trusted_file(ca, max_ca_bytes);
    const std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context(
        SSL_CTX_new(TLS_client_method()), &SSL_CTX_free);
    if (context == nullptr || SSL_CTX_load_verify_file(context.get(), ca.c_str()) != 1) {
        ERR_clear_error();
        throw Error(ErrorCode::invalid_argument,
                    ca.string() + " holds no certificate authority in PEM form");
    }
}

HttpsClient::~HttpsClient() = default;
HttpsClient::HttpsClient(HttpsClient&&) noexcept = default;
HttpsClient& HttpsClient::operator=(HttpsClient&&) noexcept = default;

const std::string& HttpsClient::url() const { return target_->config.url; }

void HttpsClient::cancel() const noexcept { target_->cancel(); }

HttpsAnswer HttpsClient::get(std::string_view more, std::string_view bearer) const {
    if (!is_visible(bearer)) refuse_request();
    base::WipedString authorization;
    if (!bearer.empty()) authorization.append("Bearer ").append(bearer);
    return send({.more = more, .authorization = authorization});
}

HttpsAnswer HttpsClient::send(const HttpsRequest& wanted) const {
    try {
        return exchange(wanted);
    } catch (const std::system_error& error) {  // no thread could be started
        throw target_->no_answer(error.what());
    }
}

HttpsAnswer HttpsClient::exchange(const HttpsRequest& wanted) const {
    Target& target = *target_;
    const auto deadline = std::min(steady_clock::now() + target.config.deadline, wanted.until);
    ExchangeLimit limit(deadline);
    const Target::UnderWay listed(target, limit);
    httplib::Request request = target.request_for(wanted);

    HttpsAnswer answer;
    request.content_receiver = [&](const char* data, std::size_t size, std::uint64_t,
                                   std::uint64_t) {
        if (size > target.config.max_bytes - answer.body.size()) return false;
        answer.body.append(data, size);
        return true;
    };
    const auto addresses = target.addresses(deadline, limit);
    if (addresses.empty() && !limit.is_over()) throw target.no_answer("no address of the host");
    for (const std::string& address : addresses) {
        if (limit.is_over()) break;
        if (target.try_at(address, request, limit, answer)) return answer;
    }
    throw target.no_answer(limit.is_over() ? "not in time" : "no connection");
}

}  // namespace server
