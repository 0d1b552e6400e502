#include "tests/support/faulty_pkcs11/rules.h"

#include <array>
#include <charconv>
#include <stdexcept>
#include <type_traits>

namespace tests {
namespace {

struct Code {
    std::string_view name;
    CK_RV value;
};

// NOLINTNEXTLINE(bugprone-macro-parentheses): the name is made of the argument's own spelling
#define CODE(name) \
    Code { #name, name }
constexpr std::array codes{
    CODE(CKR_OK),
    CODE(CKR_CANCEL),
    CODE(CKR_HOST_MEMORY),
    CODE(CKR_SLOT_ID_INVALID),
    CODE(CKR_GENERAL_ERROR),
    CODE(CKR_FUNCTION_FAILED),
    CODE(CKR_ARGUMENTS_BAD),
    CODE(CKR_NO_EVENT),
    CODE(CKR_NEED_TO_CREATE_THREADS),
    CODE(CKR_CANT_LOCK),
    CODE(CKR_ATTRIBUTE_READ_ONLY),
    CODE(CKR_ATTRIBUTE_SENSITIVE),
    CODE(CKR_ATTRIBUTE_TYPE_INVALID),
    CODE(CKR_ATTRIBUTE_VALUE_INVALID),
    CODE(CKR_ACTION_PROHIBITED),
    CODE(CKR_DATA_INVALID),
    CODE(CKR_DATA_LEN_RANGE),
    CODE(CKR_DEVICE_ERROR),
    CODE(CKR_DEVICE_MEMORY),
    CODE(CKR_DEVICE_REMOVED),
    CODE(CKR_ENCRYPTED_DATA_INVALID),
    CODE(CKR_ENCRYPTED_DATA_LEN_RANGE),
    CODE(CKR_FUNCTION_CANCELED),
    CODE(CKR_FUNCTION_NOT_PARALLEL),
    CODE(CKR_FUNCTION_NOT_SUPPORTED),
    CODE(CKR_KEY_HANDLE_INVALID),
    CODE(CKR_KEY_SIZE_RANGE),
    CODE(CKR_KEY_TYPE_INCONSISTENT),
    CODE(CKR_KEY_NOT_NEEDED),
    CODE(CKR_KEY_CHANGED),
    CODE(CKR_KEY_NEEDED),
    CODE(CKR_KEY_INDIGESTIBLE),
    CODE(CKR_KEY_FUNCTION_NOT_PERMITTED),
    CODE(CKR_KEY_NOT_WRAPPABLE),
    CODE(CKR_KEY_UNEXTRACTABLE),
    CODE(CKR_MECHANISM_INVALID),
    CODE(CKR_MECHANISM_PARAM_INVALID),
    CODE(CKR_OBJECT_HANDLE_INVALID),
    CODE(CKR_OPERATION_ACTIVE),
    CODE(CKR_OPERATION_NOT_INITIALIZED),
    CODE(CKR_PIN_INCORRECT),
    CODE(CKR_PIN_INVALID),
    CODE(CKR_PIN_LEN_RANGE),
    CODE(CKR_PIN_EXPIRED),
    CODE(CKR_PIN_LOCKED),
    CODE(CKR_SESSION_CLOSED),
    CODE(CKR_SESSION_COUNT),
    CODE(CKR_SESSION_HANDLE_INVALID),
    CODE(CKR_SESSION_PARALLEL_NOT_SUPPORTED),
    CODE(CKR_SESSION_READ_ONLY),
    CODE(CKR_SESSION_EXISTS),
    CODE(CKR_SESSION_READ_ONLY_EXISTS),
    CODE(CKR_SESSION_READ_WRITE_SO_EXISTS),
    CODE(CKR_SIGNATURE_INVALID),
    CODE(CKR_SIGNATURE_LEN_RANGE),
    CODE(CKR_TEMPLATE_INCOMPLETE),
    CODE(CKR_TEMPLATE_INCONSISTENT),
    CODE(CKR_TOKEN_NOT_PRESENT),
    CODE(CKR_TOKEN_NOT_RECOGNIZED),
    CODE(CKR_TOKEN_WRITE_PROTECTED),
    CODE(CKR_UNWRAPPING_KEY_HANDLE_INVALID),
    CODE(CKR_UNWRAPPING_KEY_SIZE_RANGE),
    CODE(CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT),
    CODE(CKR_USER_ALREADY_LOGGED_IN),
    CODE(CKR_USER_NOT_LOGGED_IN),
    CODE(CKR_USER_PIN_NOT_INITIALIZED),
    CODE(CKR_USER_TYPE_INVALID),
    CODE(CKR_USER_ANOTHER_ALREADY_LOGGED_IN),
    CODE(CKR_USER_TOO_MANY_TYPES),
    CODE(CKR_WRAPPED_KEY_INVALID),
    CODE(CKR_WRAPPED_KEY_LEN_RANGE),
    CODE(CKR_WRAPPING_KEY_HANDLE_INVALID),
    CODE(CKR_WRAPPING_KEY_SIZE_RANGE),
    CODE(CKR_WRAPPING_KEY_TYPE_INCONSISTENT),
    CODE(CKR_RANDOM_SEED_NOT_SUPPORTED),
    CODE(CKR_RANDOM_NO_RNG),
    CODE(CKR_DOMAIN_PARAMS_INVALID),
    CODE(CKR_CURVE_NOT_SUPPORTED),
    CODE(CKR_BUFFER_TOO_SMALL),
    CODE(CKR_SAVED_STATE_INVALID),
    CODE(CKR_INFORMATION_SENSITIVE),
    CODE(CKR_STATE_UNSAVEABLE),
    CODE(CKR_CRYPTOKI_NOT_INITIALIZED),
    CODE(CKR_CRYPTOKI_ALREADY_INITIALIZED),
    CODE(CKR_MUTEX_BAD),
    CODE(CKR_MUTEX_NOT_LOCKED),
    CODE(CKR_NEW_PIN_MODE),
    CODE(CKR_NEXT_OTP),
    CODE(CKR_EXCEEDED_MAX_ITERATIONS),
    CODE(CKR_FIPS_SELF_TEST_FAILED),
    CODE(CKR_LIBRARY_LOAD_FAILED),
    CODE(CKR_PIN_TOO_WEAK),
    CODE(CKR_PUBLIC_KEY_INVALID),
    CODE(CKR_FUNCTION_REJECTED),
};
#undef CODE

struct NamedAction {
    std::string_view name;
    Action action;
};
constexpr std::array actions{
    NamedAction{"logout", Action::logout},
    NamedAction{"close_sessions", Action::close_sessions},
    NamedAction{"invalidate_handles", Action::invalidate_handles},
    NamedAction{"permute_handles", Action::permute_handles},
    NamedAction{"permute_finds", Action::permute_finds},
    NamedAction{"crash", Action::crash},
};

[[noreturn]] void complain(const std::string& what) { throw std::runtime_error(what); }

// "key" or "key=value".
struct Word {
    std::string_view key;
    std::optional<std::string_view> value;

    std::string_view text() const {
        if (!value || value->empty()) complain(std::string(key) + " needs a value");
        return *value;
    }
    template <typename Number>
    Number number(int base = 10) const {
        Number parsed{};
        const std::string_view digits = text();
        const auto end = digits.data() + digits.size();
        std::from_chars_result result{};
        if constexpr (std::is_floating_point_v<Number>) {
            result = std::from_chars(digits.data(), end, parsed);
        } else {
            result = std::from_chars(digits.data(), end, parsed, base);
        }
        if (result.ec != std::errc() || result.ptr != end)
            complain(std::string(key) + " is not a number");
        return parsed;
    }
    std::uint64_t count() const { return number<std::uint64_t>(); }
    std::chrono::milliseconds milliseconds() const {
        return std::chrono::milliseconds(number<std::uint32_t>());
    }
    void require_bare() const {
        if (value) complain(std::string(key) + " takes no value");
    }
};

std::vector<Word> words_of(std::string_view line) {
    std::vector<Word> words;
    line = line.substr(0, line.find('#'));
    constexpr std::string_view blanks = " \t\r";
    for (;;) {
        const auto start = line.find_first_not_of(blanks);
        if (start == std::string_view::npos) return words;
        line.remove_prefix(start);
        const std::string_view word = line.substr(0, line.find_first_of(blanks));
        line.remove_prefix(word.size());
        const auto equals = word.find('=');
        if (equals == std::string_view::npos) {
            words.push_back({word, std::nullopt});
        } else {
            words.push_back({word.substr(0, equals), word.substr(equals + 1)});
        }
    }
}

// "C_Encrypt", "C_Encrypt*", several with commas between them; "!" in front takes away again.
std::bitset<function_count> parse_functions(std::string_view list) {
    std::bitset<function_count> chosen;
    while (!list.empty()) {
        std::string_view pattern = list.substr(0, list.find(','));
        list.remove_prefix(std::min(list.size(), pattern.size() + 1));
        const bool chooses = !pattern.starts_with('!');
        if (!chooses) pattern.remove_prefix(1);
        const bool is_prefix = pattern.ends_with('*');
        if (is_prefix) pattern.remove_suffix(1);
        bool matched = false;
        for (std::size_t i = 0; i < function_count; ++i) {
            const std::string_view name = function_names[i];
            if (is_prefix ? !name.starts_with(pattern) : name != pattern) continue;
            chosen.set(i, chooses);
            matched = true;
        }
        if (!matched) complain("no function is named " + std::string(pattern));
    }
    return chosen;
}

CK_RV parse_code(const Word& word) {
    if (word.text().starts_with("0x")) {
        return Word{word.key, word.text().substr(2)}.number<CK_RV>(16);
    }
    for (const Code& code : codes) {
        if (code.name == word.text()) return code.value;
    }
    complain("no code is named " + std::string(word.text()));
}

Action parse_action(const Word& word) {
    for (const NamedAction& named : actions) {
        if (named.name == word.text()) return named.action;
    }
    complain("nothing to do is named " + std::string(word.text()));
}

double parse_probability(const Word& word) {
    const auto value = word.number<double>();
    if (value < 0 || value > 1) complain("probability is between 0 and 1");
    return value;
}

void parse_flip(Rule& rule, const Word& word) {
    if (word.text() == "random") {
        rule.flip_random = true;
    } else if (word.text() == "first") {
        rule.flip = 0;
    } else if (word.text() == "last") {
        rule.flip = -1;
    } else {
        rule.flip = word.number<std::int64_t>();
    }
}

// Which calls; false when the word says something else.
bool parse_choice(Rule& rule, const Word& word) {
    if (word.key == "nth") {
        rule.nth = word.count();
    } else if (word.key == "skip") {
        rule.skip = word.count();
    } else if (word.key == "every") {
        rule.every = word.count();
        if (rule.every == 0) complain("every is at least 1");
    } else if (word.key == "times") {
        rule.times = word.count();
    } else if (word.key == "probability") {
        rule.probability = parse_probability(word);
    } else if (word.key == "seed") {
        rule.seed = word.count();
    } else if (word.key == "before" || word.key == "after") {
        word.require_bare();
        rule.after = word.key == "after";
    } else {
        return false;
    }
    return true;
}

void parse_effect(Rule& rule, const Word& word) {
    if (word.key == "code") {
        rule.code = parse_code(word);
    } else if (word.key == "delay") {
        rule.delay = word.milliseconds();
    } else if (word.key == "hang") {
        word.require_bare();
        rule.hang = true;
    } else if (word.key == "do") {
        rule.action = parse_action(word);
    } else if (word.key == "flip") {
        parse_flip(rule, word);
    } else if (word.key == "fill") {
        rule.fill = word.number<std::uint8_t>();
    } else if (word.key == "truncate") {
        rule.truncate = word.count();
    } else {
        complain("unknown word " + std::string(word.key));
    }
}

Rule parse_rule(const std::vector<Word>& words) {
    Rule rule;
    rule.functions = parse_functions(words.front().key);
    for (std::size_t i = 1; i < words.size(); ++i) {
        if (!parse_choice(rule, words[i])) parse_effect(rule, words[i]);
    }
    if (rule.changes_output() && !rule.after && rule.code != CKR_OK)
        complain("a call that fails before the real one has no output to change");
    return rule;
}

IvMaker parse_iv_maker(const Word& word) {
    if (word.text() == "caller") return IvMaker::caller;
    if (word.text() == "zeroed") return IvMaker::zeroed;
    if (word.text() == "appended") return IvMaker::appended;
    complain("iv is caller, zeroed or appended");
}

void parse_flag(bool& flag, const Word& word) {
    word.require_bare();
    flag = true;
}

void parse_behaviour(Behaviour& behaviour, const Word& word) {
    if (word.key == "away") {
        parse_flag(behaviour.away, word);
    } else if (word.key == "strict_iv_bits") {
        parse_flag(behaviour.strict_iv_bits, word);
    } else if (word.key == "unique_ids") {
        parse_flag(behaviour.unique_ids, word);
    } else if (word.key == "no_derive") {
        parse_flag(behaviour.no_derive, word);
    } else if (word.key == "iv") {
        behaviour.iv = parse_iv_maker(word);
    } else if (word.key == "max_sessions") {
        behaviour.max_sessions = word.count();
    } else if (word.key == "session_idle") {
        behaviour.session_idle = word.milliseconds();
    } else if (word.key == "pin_attempts") {
        behaviour.pin_attempts = word.count();
    } else if (word.key == "max_data") {
        behaviour.max_data = word.count();
    } else {
        complain("unknown behaviour " + std::string(word.key));
    }
}

}  // namespace

std::uint64_t mixed(std::uint64_t seed, std::uint64_t n) noexcept {
    // SplitMix64: one step per call, so that the n-th number needs no state.
    std::uint64_t x = seed * 0xd1342543de82ef95U + n * 0x9e3779b97f4a7c15U;
    x = (x ^ (x >> 30U)) * 0xbf58476d1ce4e5b9U;
    x = (x ^ (x >> 27U)) * 0x94d049bb133111ebU;
    return x ^ (x >> 31U);
}

bool Rule::strikes(std::uint64_t n) const noexcept {
    if (nth) return n == *nth;
    if (n <= skip) return false;
    if ((n - skip - 1) % every != 0) return false;
    if (!probability) return true;
    constexpr double whole = 18446744073709551616.0;  // 2^64
    return static_cast<double>(mixed(seed, n)) < *probability * whole;
}

Rules parse_rules(std::string_view text) {
    Rules rules;
    std::size_t number = 0;
    while (!text.empty()) {
        const std::string_view line = text.substr(0, text.find('\n'));
        text.remove_prefix(std::min(text.size(), line.size() + 1));
        ++number;
        try {
            const auto words = words_of(line);
            if (words.empty()) continue;
            if (words.front().key == "behave") {
                for (std::size_t i = 1; i < words.size(); ++i)
                    parse_behaviour(rules.behaviour, words[i]);
                continue;
            }
            rules.rules.push_back(parse_rule(words));
            if (rules.rules.size() > max_rules) complain("too many rules");
        } catch (const std::runtime_error& error) {
            complain("line " + std::to_string(number) + ": " + error.what());
        }
    }
    return rules;
}

}  // namespace tests
