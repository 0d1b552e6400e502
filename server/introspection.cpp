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

// One place among those who ask at once.
class QuestionPlace {
public:
    QuestionPlace(std::atomic<std::size_t>& taken, std::size_t most) : taken_(taken) {
        if (taken_.fetch_add(1) < most) return;
        taken_.fetch_sub(1);
        throw cannot_tell("too many questions at once");
    }
    ~QuestionPlace() { taken_.fetch_sub(1); }
    QuestionPlace(const QuestionPlace&) = delete;
    QuestionPlace& operator=(const QuestionPlace&) = delete;

private:
    std::atomic<std::size_t>& taken_;
};

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

Introspection::Introspection(Ask ask, IntrospectionRules rules, MonotonicClock clock)
    : ask_(std::move(ask)), rules_(std::move(rules)), clock_(std::move(clock)) {}

Caller Introspection::verify(std::string_view credential) {
    if (rules_.cache.count() == 0) return ask(credential);
    const std::string key = Sha256().hex(credential);
    if (auto caller = remembered(key)) return std::move(*caller);
    const auto until = clock_() + rules_.cache;  // counted from the question, not from the answer
    Caller caller = ask(credential);
    remember(key, {caller, until});
    return caller;
}

Caller Introspection::ask(std::string_view credential) {
    const QuestionPlace place(asking_, rules_.max_concurrent);
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
