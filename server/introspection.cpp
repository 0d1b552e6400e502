#include "server/introspection.h"

#include "base/error.h"
#include "base/json.h"
#include "server/digest.h"
#include "server/identity_words.h"

namespace server {
namespace {

using base::Error;
using base::ErrorCode;
using base::JsonValue;

constexpr std::size_t max_remembered = 10'000;
constexpr int answered = 200;
constexpr int unauthorized = 401;
constexpr int forbidden = 403;

Error cannot_tell(const std::string& why) {
    return {ErrorCode::unavailable, "the identity provider can't be asked now: try again", why};
}

std::string text_in(const JsonValue& object, std::string_view name) {
    const JsonValue* member = object.find(name);
    if (member == nullptr || member->string() == nullptr) return {};
    return std::string(*member->string());
}

Caller read_user(const HttpsAnswer& answer, const std::string& prefix) {
    base::JsonLimits limits;
    limits.bytes = answer.body.size();
    JsonValue document;
    try {
        document = base::parse_json(answer.body, limits);
    } catch (const Error& error) {
        throw cannot_tell("an answer that is no JSON: " + error.message());
    }
    const JsonValue* user = document.find("data");
    const std::string id = user == nullptr ? std::string() : text_in(*user, "id");
    Caller caller;
    caller.id = prefix + id;
    if (id.empty() || !is_sound_name(caller.id)) throw cannot_tell("an answer without data.id");
    caller.method = AuthenticationMethod::introspection;
    caller.claims["user"] = {id};
    const std::string role = text_in(*user, "role");
    if (is_sound_name(role)) caller.claims["role"] = {role};
    return caller;
}

}  // namespace

// One place among those who ask at once; a peer who is not known takes any that is free.
class Introspection::Place {
public:
    Place(Introspection& all, std::string_view peer) : all_(all), peer_(peer) {
        const std::lock_guard lock(all_.mutex_);
        if (all_.asking_ >= all_.rules_.max_concurrent) {
            throw cannot_tell("too many questions at once");
        }
        if (!peer_.empty()) {
            std::size_t& of_peer = all_.asking_by_peer_[peer_];
            if (of_peer >= all_.rules_.max_concurrent_per_peer) {
                throw cannot_tell("too many questions at once of one peer");
            }
            ++of_peer;
        }
        ++all_.asking_;
    }
    ~Place() {
        const std::lock_guard lock(all_.mutex_);
        --all_.asking_;
        const auto of_peer = all_.asking_by_peer_.find(peer_);
        if (of_peer != all_.asking_by_peer_.end() && --of_peer->second == 0) {
            all_.asking_by_peer_.erase(of_peer);
        }
    }
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;

private:
    Introspection& all_;
    const std::string peer_;
};

Introspection::Introspection(Ask ask, IntrospectionRules rules, MonotonicClock clock)
    : ask_(std::move(ask)), rules_(std::move(rules)), clock_(std::move(clock)) {}

Caller Introspection::verify_from(std::string_view peer, std::string_view credential) {
    if (rules_.cache.count() == 0) return ask(peer, credential);
    const std::string key = Sha256().hex(credential);
    if (auto caller = remembered(key)) return std::move(*caller);
    const auto until = clock_() + rules_.cache;  // counted from the question, not from the answer
    Caller caller = ask(peer, credential);
    remember(key, {caller, until});
    return caller;
}

Caller Introspection::ask(std::string_view peer, std::string_view credential) {
    const Place place(*this, peer);
    const HttpsAnswer answer = ask_(credential);
    if (answer.status == unauthorized || answer.status == forbidden) {
        refuse_credential("introspection_refused");
    }
    if (answer.status != answered) throw cannot_tell("status " + std::to_string(answer.status));
    return read_user(answer, rules_.caller_prefix);
}

std::optional<Caller> Introspection::remembered(const std::string& key) {
    const std::lock_guard lock(mutex_);
    const auto found = known_.find(key);
    if (found == known_.end()) return std::nullopt;
    if (clock_() < found->second.until) return found->second.caller;
    known_.erase(found);
    return std::nullopt;
}

void Introspection::remember(const std::string& key, Known known) {
    const auto now = clock_();
    const std::lock_guard lock(mutex_);
    if (known_.size() >= max_remembered) {
        std::erase_if(known_, [now](const auto& entry) { return entry.second.until <= now; });
    }
    if (known_.size() < max_remembered) known_[key] = std::move(known);
}

}  // namespace server
