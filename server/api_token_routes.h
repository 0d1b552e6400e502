// API tokens over HTTP, the same in both daemons: make, list, revoke.
//
// What a token may do is what the policy gives its caller, "token:<name>": making a token of that
// name is becoming that caller. So who may make which names is the policy's, by the resource
// api_token:<name>, and each claim that a token is to carry is asked about as claim:<name>=<value>.
// A caller who came by a token makes none: what expires must not live on in its children.
#pragma once

#include <chrono>
#include <string_view>
#include <vector>

#include "server/api_tokens.h"
#include "server/authorizer.h"
#include "server/orders_once.h"
#include "server/policy_words.h"
#include "server/route.h"

namespace server {

inline constexpr Action create_api_token{"create_api_token"};
inline constexpr Action list_api_tokens{"list_api_tokens"};
inline constexpr Action revoke_api_token{"revoke_api_token"};
// Beside create_api_token: giving a token a claim.
inline constexpr Action grant_claim{"grant_claim"};

// What these actions are done on.
inline constexpr std::string_view api_token_kind = "api_token";
inline constexpr std::string_view claim_kind = "claim";

// `words` and those above, for what a daemon's policy may use.
PolicyWords with_api_token_actions(PolicyWords words);

// POST   /v1/api-tokens        {"name", "claims"?: {name: [value]}, "expires_in_seconds"?}
//                              201 with "token", which is shown here only; absent: the longest time
// GET    /v1/api-tokens        ?limit&cursor; also those that are revoked or expired
// DELETE /v1/api-tokens/{id}   from the answer on the token is nothing
// An order to make one that is repeated makes no second token, and is told which one it made: the
// answer with its text is remembered nowhere.
// `tokens`, `authorizer` and `orders`, which may be null, must outlive the routes.
std::vector<Route> api_token_routes(ApiTokens& tokens, const Authorizer& authorizer,
                                    std::chrono::seconds max_lifetime,
                                    OrdersOnce* orders = nullptr);

}  // namespace server
