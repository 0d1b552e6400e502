#include "hsm/kept_pin.h"
#include "hsm/token_set.h"

namespace hsm {

std::unique_ptr<TokenSet> open_token_set(const std::vector<RemoteMember>& members,
                                         TokenSet::Options options, base::Log& log) {
    std::vector<TokenMember> opened_later;
    for (const RemoteMember& member : members) {
        const auto pin = std::make_shared<const KeptPin>(member.pin);
        opened_later.push_back(
            {member.name, [worker = member.worker, pin, &log](std::function<void()> again) {
                 WorkerConfig told = worker;
                 told.token.logged_in_again = std::move(again);
                 return open_remote_token(told, pin->reveal(), log);
             }});
    }
    return std::make_unique<TokenSet>(std::move(opened_later), std::move(options), log);
}

}  // namespace hsm
