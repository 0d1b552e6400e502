// The PKCS#11 module itself: a table in which each function counts, asks the rules, and calls the
// wrapped module's.
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <tuple>

#include "tests/support/faulty_pkcs11/engine.h"

namespace tests {
namespace {

using Table = CK_FUNCTION_LIST;

// FAULTY_PKCS11, else the folder beside this library that is named as it was loaded, with
// ".control" behind.
std::filesystem::path control_folder() {
    // NOLINTNEXTLINE(concurrency-mt-unsafe): read once, when the module is loaded
    if (const char* named = std::getenv("FAULTY_PKCS11"); named != nullptr) return named;
    Dl_info self{};
    if (::dladdr(reinterpret_cast<const void*>(&control_folder), &self) == 0)
        throw std::runtime_error("FAULTY_PKCS11 must name the control folder");
    return std::string(self.dli_fname) + ".control";
}

// A PKCS#11 table holds bare functions, so what they work with can't be passed to them. Never
// destroyed: a call may still hang in it when the process ends.
Engine& engine() {
    static Engine* const only = std::make_unique<Engine>(control_folder()).release();
    return *only;
}

// The member of a table that is this function.
template <Function function>
constexpr auto member_of() {
#define FAULTY_PKCS11_MEMBER(name) \
    if constexpr (function == Function::name) return &Table::name;
    FAULTY_PKCS11_FUNCTIONS(FAULTY_PKCS11_MEMBER)
#undef FAULTY_PKCS11_MEMBER
}

// --- where a call's output is, by its arguments' types ---
template <typename... Args>
Output output_of(Args...) {
    return {};
}
Output output_of(CK_SESSION_HANDLE, CK_BYTE*, CK_ULONG, CK_BYTE* out, CK_ULONG* size) {
    return {out, size, 0};
}
Output output_of(CK_SESSION_HANDLE, CK_BYTE* out, CK_ULONG* size) { return {out, size, 0}; }
Output output_of(CK_SESSION_HANDLE, CK_MECHANISM*, CK_OBJECT_HANDLE, CK_OBJECT_HANDLE, CK_BYTE* out,
                 CK_ULONG* size) {
    return {out, size, 0};
}
template <Function function, typename... Args>
Output find_output(Args... args) {
    const auto all = std::make_tuple(args...);
    if constexpr (function == Function::C_GenerateRandom) {
        return {std::get<1>(all), nullptr, std::get<2>(all)};
    } else if constexpr (function == Function::C_GetAttributeValue) {
        CK_ATTRIBUTE* const first = std::get<2>(all);
        if (first == nullptr || std::get<3>(all) == 0) return {};
        return {static_cast<CK_BYTE*>(first->pValue), &first->ulValueLen, 0};
    } else {
        return output_of(args...);
    }
}

// --- the call of the wrapped module, with what a vendor does differently ---
template <Function function>
CK_RV judge_new_object(const Behaviour& behaviour, const auto& args) {
    using enum Function;
    if constexpr (function == C_CreateObject) {
        return engine().judge_template(behaviour, std::get<0>(args), std::get<1>(args),
                                       std::get<2>(args));
    } else if constexpr (function == C_GenerateKey) {
        return engine().judge_template(behaviour, std::get<0>(args), std::get<2>(args),
                                       std::get<3>(args));
    } else if constexpr (function == C_GenerateKeyPair) {
        const CK_RV code = engine().judge_template(behaviour, std::get<0>(args), std::get<2>(args),
                                                   std::get<3>(args));
        if (code != CKR_OK) return code;
        return engine().judge_template(behaviour, std::get<0>(args), std::get<4>(args),
                                       std::get<5>(args));
    } else if constexpr (function == C_DeriveKey) {
        return behaviour.no_derive ? CKR_FUNCTION_NOT_SUPPORTED : CKR_OK;
    } else {
        return CKR_OK;
    }
}

template <Function function, typename... Args>
CK_RV call_wrapped(const Behaviour& behaviour, Args... args) {
    using enum Function;
    Engine& only = engine();
    if constexpr (function == C_OpenSession) {
        return only.open_session(behaviour, args...);
    } else if constexpr (function == C_Login) {
        return only.log_in(behaviour, args...);
    } else if constexpr (function == C_GetTokenInfo) {
        return only.token_info(behaviour, args...);
    } else if constexpr (function == C_EncryptInit) {
        return only.encrypt_init(behaviour, args...);
    } else if constexpr (function == C_Encrypt) {
        return only.encrypt(behaviour, args...);
    } else if constexpr (function == C_DecryptInit) {
        return only.decrypt_init(behaviour, args...);
    } else if constexpr (function == C_Decrypt) {
        return only.decrypt(behaviour, args...);
    } else {
        const auto real = only.real().*member_of<function>();
        return real == nullptr ? CKR_FUNCTION_NOT_SUPPORTED : real(args...);
    }
}

// What a call changes in our own books.
template <Function function>
void note_sessions(const auto& args) {
    using enum Function;
    if constexpr (function == C_CloseSession) engine().forget_session(std::get<0>(args));
    if constexpr (function == C_CloseAllSessions || function == C_Finalize)
        engine().forget_all_sessions();
    if constexpr (function == C_Finalize) engine().handles().forget();
}

// --- object handles: in and out ---
template <Function function, std::size_t at>
bool take_one(auto& args) {
    if constexpr ((object_arguments(function) >> at & 1U) != 0) {
        const auto real = engine().handles().take(std::get<at>(args));
        if (!real) return false;
        std::get<at>(args) = *real;
    }
    return true;
}
template <Function function, std::size_t at>
void give_one(auto& args) {
    if constexpr ((object_results(function) >> at & 1U) != 0) {
        CK_OBJECT_HANDLE* const place = std::get<at>(args);
        if (place != nullptr) *place = engine().handles().give(*place);
    }
}
template <Function function, std::size_t... at>
bool take_handles(auto& args, std::index_sequence<at...>) {
    return (take_one<function, at>(args) && ...);
}
template <Function function, std::size_t... at>
void give_handles(auto& args, std::index_sequence<at...>) {
    (give_one<function, at>(args), ...);
    if constexpr (function == Function::C_FindObjects) {
        for (CK_ULONG i = 0; i < *std::get<3>(args); ++i) {
            CK_OBJECT_HANDLE& handle = std::get<1>(args)[i];
            handle = engine().handles().give(handle, true);
        }
    }
}

// A token that is away answers nothing that needs it.
template <Function function>
CK_RV answer_away(const auto& args) {
    using enum Function;
    if constexpr (function == C_GetSlotList) {
        if (std::get<0>(args) == CK_TRUE) *std::get<2>(args) = 0;
        return CKR_OK;
    } else if constexpr (takes_session(function)) {
        return CKR_DEVICE_REMOVED;
    } else {
        return CKR_TOKEN_NOT_PRESENT;
    }
}
constexpr bool needs_token(Function function) {
    using enum Function;
    return function != C_Initialize && function != C_Finalize && function != C_GetInfo &&
           function != C_GetFunctionList;
}

class SessionUse {
public:
    SessionUse(const Behaviour& behaviour, CK_SESSION_HANDLE session)
        : behaviour_(behaviour), session_(session) {
        engine().use_session(behaviour_, session_);
    }
    ~SessionUse() { engine().leave_session(behaviour_, session_); }
    SessionUse(const SessionUse&) = delete;
    SessionUse& operator=(const SessionUse&) = delete;

private:
    const Behaviour& behaviour_;
    CK_SESSION_HANDLE session_;
};

template <Function function, typename... Args>
CK_RV forward(const Behaviour& behaviour, Args... plain) {
    if constexpr (needs_token(function)) {
        if (behaviour.away) return answer_away<function>(std::make_tuple(plain...));
    }
    const std::shared_lock lock(engine().gate());
    auto args = std::make_tuple(plain...);
    std::optional<SessionUse> use;
    if constexpr (takes_session(function)) use.emplace(behaviour, std::get<0>(args));
    constexpr auto places = std::index_sequence_for<Args...>();
    if (!take_handles<function>(args, places)) {
        return object_arguments(function) == 1U << 1U ? CKR_OBJECT_HANDLE_INVALID
                                                      : CKR_KEY_HANDLE_INVALID;
    }
    if (const CK_RV refused = judge_new_object<function>(behaviour, args); refused != CKR_OK)
        return refused;
    const CK_RV answer =
        std::apply([&](auto... real) { return call_wrapped<function>(behaviour, real...); }, args);
    if (answer == CKR_OK) give_handles<function>(args, places);
    note_sessions<function>(args);
    return answer;
}

template <Function function, typename... Args>
CK_RV suffer_call(Args... args) {
    Engine& only = engine();
    Ledger::OfFunction& counts = only.ledger().functions[index_of(function)];
    ++counts.calls;
    const auto loaded = only.current();
    const auto rules = only.struck_by(*loaded, function);
    for (const Rule* rule : rules) {
        if (rule->after) continue;
        only.suffer(*rule, loaded->version);
        if (rule->code != CKR_OK) {
            ++counts.failed;
            return rule->code;
        }
    }
    // As they are now: a call that hung goes on under what freed it.
    CK_RV answer = forward<function>(only.current()->rules.behaviour, args...);
    for (const Rule* rule : rules) {
        if (answer == CKR_OK && rule->changes_output())
            only.change(*rule, find_output<function>(args...));
        if (!rule->after) continue;
        only.suffer(*rule, loaded->version);
        if (rule->code != CKR_OK) answer = rule->code;
    }
    if (answer != CKR_OK) ++counts.failed;
    return answer;
}

// No exception may reach the caller, who may be C.
template <Function function, typename... Args>
CK_RV guarded_call(Args... args) noexcept {
    try {
        return suffer_call<function>(args...);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "faulty_pkcs11: %s\n", error.what());
        return CKR_HOST_MEMORY;
    }
}

template <Function function, typename... Args>
constexpr auto entry(CK_RV (*Table::*)(Args...)) {
    return +[](Args... args) -> CK_RV { return guarded_call<function>(args...); };
}

CK_RV give_table(CK_FUNCTION_LIST_PTR_PTR list) noexcept {
    static Table table = [] {
        Table made{};
        made.version = {2, 40};
#define FAULTY_PKCS11_ENTRY(name) made.name = entry<Function::name>(&Table::name);
        FAULTY_PKCS11_FUNCTIONS(FAULTY_PKCS11_ENTRY)
#undef FAULTY_PKCS11_ENTRY
        made.C_GetFunctionList = &give_table;
        return made;
    }();
    try {
        static_cast<void>(engine());
        *list = &table;
        return CKR_OK;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "faulty_pkcs11: %s\n", error.what());
        return CKR_FUNCTION_FAILED;
    }
}

}  // namespace
}  // namespace tests

extern "C" __attribute__((visibility("default"))) CK_RV C_GetFunctionList(
    CK_FUNCTION_LIST_PTR_PTR list) {
    return tests::give_table(list);
}
