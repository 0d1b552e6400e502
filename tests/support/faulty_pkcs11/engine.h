// What stands behind the faulty table: the wrapped module, the rules in force, and what they do.
#pragma once

#include <p11-kit/pkcs11.h>

#include <atomic>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>

#include "tests/support/faulty_pkcs11/handles.h"
#include "tests/support/faulty_pkcs11/ledger.h"
#include "tests/support/faulty_pkcs11/rules.h"

namespace tests {

// Shared by calls, exclusive for what is done to the wrapped module behind their backs: it may not
// survive that its sessions are closed under a running call. Whoever wants it alone goes first.
class Gate {
public:
    void lock();
    void unlock();
    void lock_shared();
    void unlock_shared();

private:
    std::mutex turnstile_;
    std::shared_mutex mutex_;
};

// A call's output, when it has one.
struct Output {
    CK_BYTE* data = nullptr;
    CK_ULONG* size = nullptr;  // null: `fixed` bytes
    CK_ULONG fixed = 0;
};

// The rules of one reading of the control file.
struct Loaded {
    std::uint64_t version = 0;
    Rules rules;
};

// Safe to share between threads.
class Engine {
public:
    // `folder` holds the files `module` (the wrapped library's path), `rules` and `ledger`. Throws
    // std::runtime_error.
    explicit Engine(const std::filesystem::path& folder);

    const CK_FUNCTION_LIST& real() const noexcept { return *real_; }
    Ledger& ledger() const noexcept { return *ledger_; }
    ObjectHandles& handles() noexcept { return handles_; }
    Gate& gate() noexcept { return gate_; }

    // The rules in force now: the file is looked at with each call.
    std::shared_ptr<const Loaded> current();

    // The rules that strike this call, in order.
    std::vector<const Rule*> struck_by(const Loaded& loaded, Function function);
    // Delay, hang and action of `rule`, outside of any lock.
    void suffer(const Rule& rule, std::uint64_t version);
    void change(const Rule& rule, const Output& output);

    // Closes everything, as a token that was pulled out does.
    void close_all_sessions();

    // --- how vendors differ; called with the gate held shared ---
    CK_RV open_session(const Behaviour& behaviour, CK_SLOT_ID slot, CK_FLAGS flags,
                       CK_VOID_PTR application, CK_NOTIFY notify, CK_SESSION_HANDLE* session);
    void forget_session(CK_SESSION_HANDLE session);
    void forget_all_sessions();
    // Closes every session that was idle for too long, and counts a call on this one until
    // leave_session().
    void use_session(const Behaviour& behaviour, CK_SESSION_HANDLE session);
    void leave_session(const Behaviour& behaviour, CK_SESSION_HANDLE session);
    CK_RV log_in(const Behaviour& behaviour, CK_SESSION_HANDLE session, CK_USER_TYPE user,
                 CK_BYTE* pin, CK_ULONG size);
    CK_RV token_info(const Behaviour& behaviour, CK_SLOT_ID slot, CK_TOKEN_INFO* info);
    CK_RV encrypt_init(const Behaviour& behaviour, CK_SESSION_HANDLE session,
                       CK_MECHANISM* mechanism, CK_OBJECT_HANDLE key);
    CK_RV encrypt(const Behaviour& behaviour, CK_SESSION_HANDLE session, CK_BYTE* in, CK_ULONG size,
                  CK_BYTE* out, CK_ULONG* room);
    CK_RV decrypt_init(const Behaviour& behaviour, CK_SESSION_HANDLE session,
                       CK_MECHANISM* mechanism, CK_OBJECT_HANDLE key);
    CK_RV decrypt(const Behaviour& behaviour, CK_SESSION_HANDLE session, CK_BYTE* in, CK_ULONG size,
                  CK_BYTE* out, CK_ULONG* room);
    // CKR_OK, or why an object of that template is refused.
    CK_RV judge_template(const Behaviour& behaviour, CK_SESSION_HANDLE session,
                         const CK_ATTRIBUTE* attributes, CK_ULONG count);

private:
    struct ExtraSession;
    struct Open {
        CK_SLOT_ID slot = 0;
        std::chrono::steady_clock::time_point used;
        int calls = 0;  // under way, where sessions die idle
    };
    // A GCM operation whose IV is not the caller's.
    struct Pending {
        CK_GCM_PARAMS parameters{};
        CK_OBJECT_HANDLE key = CK_INVALID_HANDLE;
        std::vector<CK_BYTE> aad;
        std::vector<CK_BYTE> iv;
        CK_BYTE* callers_iv = nullptr;
    };
    static std::vector<CK_SLOT_ID> slots_of(const CK_FUNCTION_LIST& module);
    void act(Action action);
    void log_out_everywhere();
    void permute(bool finds_only);
    std::shared_ptr<const Loaded> read_rules(std::uint64_t version) const;
    bool has_id(CK_SESSION_HANDLE session, const CK_ATTRIBUTE& id) const;
    std::optional<Pending> pending_of(CK_SESSION_HANDLE session);
    void forget_pending(CK_SESSION_HANDLE session);

    std::filesystem::path rules_file_;
    SharedLedger ledger_;
    const CK_FUNCTION_LIST* real_ = nullptr;
    ObjectHandles handles_;
    Gate gate_;
    std::mutex mutex_;
    std::shared_ptr<const Loaded> loaded_;
    std::map<CK_SESSION_HANDLE, Open> sessions_;
    std::map<CK_SESSION_HANDLE, Pending> pending_;
    std::atomic<bool> is_away_{false};
};

}  // namespace tests
