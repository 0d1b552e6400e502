// Batches, rewrap and small texts on the wire.
#include "tests/kms/data_api_fixture.h"
#include "tests/support/expect_error.h"

namespace tests {
namespace {

TEST_F(DataApi, RequestsUnwrappedTogetherAreAnsweredAsEachAloneInOnePassOverTheToken) {
    const std::string good = R"({"wrapped":")" + wrap(key_->id) + R"("})";
    const std::string bound = R"({"wrapped":")" + wrap(second_->id, {{"a", "b"}}) + R"(")";
    const std::string hidden = R"({"wrapped":")" + wrap(hidden_->id) + R"("})";
    const std::vector<std::pair<std::string, std::string>> asked = {
        {"app", good},
        {"root", bound + R"(,"context":{"a":"b"}})"},
        {"app", bound + R"(,"context":{"a":"c"}})"},
        {"app", hidden},
        {"nobody", good},
        {"app", R"({"wrapped":"AAAA"})"},
        {"app", R"({"wrapped":"!"})"},
        {"app", R"({"wrapped":"AAAA","more":1})"},
        {"app", "{"},
        {"app", items_of({good, bound + R"(,"context":{"a":"b"}})", hidden, good})},
        {"app", good},
    };
    std::vector<server::Response> alone;
    std::vector<std::unique_ptr<server::Operation>> alone_operations;
    for (const auto& [caller, body] : asked) {
        alone.push_back(post(caller, unwrap_, body));
        alone_operations.push_back(std::move(operation_));
    }

    std::vector<server::Request> requests(asked.size());
    std::vector<std::unique_ptr<server::Operation>> operations;
    std::vector<server::JointCall> calls;
    for (std::size_t i = 0; i < asked.size(); ++i) {
        operations.push_back(std::make_unique<server::Operation>(operation_of(asked[i].first)));
        requests[i].method = server::Method::POST;
        requests[i].path = unwrap_;
        requests[i].body = asked[i].second;
        calls.push_back({*operations[i], requests[i]});
    }
    token_.decrypt_calls = 0;
    rig_.routes.match(server::Method::POST, unwrap_).route->together(calls);
    // The second is by the proof of the key whose item did not open.
    EXPECT_LE(token_.decrypt_calls, 2U);
    for (std::size_t i = 0; i < asked.size(); ++i) {
        SCOPED_TRACE(asked[i].first + ' ' + asked[i].second);
        ASSERT_NE(calls[i].response.has_value(), calls[i].error.has_value());
        const server::Response answer = calls[i].error
                                            ? server::error_answer(*calls[i].error, base::Uuid())
                                            : *calls[i].response;
        EXPECT_EQ(answer.status, alone[i].status);
        EXPECT_EQ(answer.body, alone[i].body);
        EXPECT_EQ(operations[i]->facts(), alone_operations[i]->facts());
        EXPECT_EQ(operations[i]->items().size(), alone_operations[i]->items().size());
        EXPECT_EQ(operations[i]->decided().size(), alone_operations[i]->decided().size());
    }
}

TEST_F(DataApi, ANamedOrderAmongThoseUnwrappedTogetherIsRefusedAsItIsAlone) {
    server::Request good;
    good.method = server::Method::POST;
    good.path = unwrap_;
    good.body = R"({"wrapped":")" + wrap(key_->id) + R"("})";
    server::Request named = good;
    named.headers["idempotency-key"] = "k";
    auto first = operation_of("app");
    auto second = operation_of("app");
    auto third = operation_of("app");
    std::vector<server::JointCall> calls{{first, good}, {second, named}, {third, good}};
    const auto* route = rig_.routes.match(server::Method::POST, unwrap_).route;
    EXPECT_ERROR_SAYING(invalid_argument, "Idempotency-Key", route->handler(second, named));
    route->together(calls);
    ASSERT_TRUE(calls[1].error.has_value());
    EXPECT_EQ(calls[1].error->code(), base::ErrorCode::invalid_argument);
    EXPECT_EQ(calls[1].error->message(),
              "this call takes no Idempotency-Key: it may be repeated as it is");
    EXPECT_EQ(calls[0].response->status, 200U);
    EXPECT_EQ(calls[2].response->status, 200U);
}

TEST_F(DataApi, OneKeyThatTheTokenCantUseIsNoMatterOfTheOthersUnwrappedTogether) {
    server::Request good;
    server::Request bad;
    good.body = R"({"wrapped":")" + wrap(key_->id) + R"("})";
    bad.body = R"({"wrapped":")" + wrap(second_->id) + R"("})";
    auto first = operation_of("app");
    auto second = operation_of("root");
    auto third = operation_of("app");
    std::vector<server::JointCall> calls{{first, good}, {second, bad}, {third, good}};
    token_.spoilt = second_->primary().token_key_id;
    rig_.routes.match(server::Method::POST, unwrap_).route->together(calls);
    EXPECT_EQ(calls[0].response->status, 200U);
    EXPECT_EQ(calls[2].response->status, 200U);
    ASSERT_TRUE(calls[1].error.has_value());
    EXPECT_EQ(calls[1].error->code(), base::ErrorCode::unavailable);
}

TEST_F(DataApi, WithoutTheTokenAllThatWereToBeUnwrappedTogetherHearOfIt) {
    server::Request request;
    request.body = R"({"wrapped":")" + wrap(key_->id) + R"("})";
    auto operation = operation_of("app");
    std::vector<server::JointCall> calls{{operation, request}};
    token_.is_away = true;
    rig_.routes.match(server::Method::POST, unwrap_).route->together(calls);
    ASSERT_TRUE(calls[0].error.has_value());
    EXPECT_EQ(calls[0].error->code(), base::ErrorCode::unavailable);
}

TEST_F(DataApi, TheRecordNamesItemsInRowsOfWhatTheyHaveInCommon) {
    const auto good = wrap(key_->id);
    const auto bound = wrap(key_->id, {{"a", "b"}});
    const auto other = wrap(second_->id);
    const auto plain = [](const std::string& wrapped) {
        return R"({"wrapped":")" + wrapped + R"("})";
    };
    const auto answer =
        post("app", unwrap_,
             items_of({plain(good), plain(bound), plain(other), plain(good), plain(good),
                       R"({"wrapped":")" + bound + R"(","context":{"a":"b"}})", plain("QQ==")}));
    ASSERT_EQ(answer.status, 200U) << answer.body;
    const auto& rows = operation_->items();
    ASSERT_EQ(rows.size(), 5U);
    const std::string first = key_->id.to_string() + "/1";
    EXPECT_EQ(rows[0].resource, first);
    EXPECT_EQ(rows[0].outcome, "ok");
    EXPECT_EQ(rows[0].items, "0,3-4");
    EXPECT_EQ(rows[1].outcome, "integrity_failure");
    EXPECT_EQ(rows[1].items, "1");
    EXPECT_EQ(rows[2].resource, second_->id.to_string() + "/1");
    EXPECT_EQ(rows[3].resource, first);
    EXPECT_EQ(rows[3].items, "5");
    ASSERT_TRUE(rows[3].decision);
    EXPECT_EQ(operation_->decided().at(*rows[3].decision).context,
              (kms::EncryptionContext{{"a", "b"}}));
    EXPECT_EQ(rows[4].resource, "");
    EXPECT_EQ(rows[4].items, "6");
    EXPECT_FALSE(rows[4].decision);
}

TEST_F(DataApi, AnItemOfAnotherTraceThanItsCallIsRecordedWithIt) {
    const std::string trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const auto good = wrap(key_->id);
    const auto traced = [](const std::string& wrapped, const std::string& traceparent) {
        return R"({"wrapped":")" + wrapped + R"(","traceparent":")" + traceparent + R"("})";
    };
    std::string malformed = trace;
    malformed[3] = 'X';
    const auto answer =
        post("app", unwrap_,
             items_of({traced(good, trace), R"({"wrapped":")" + good + R"("})",
                       traced(good, malformed), traced("QQ==", trace), traced(good, trace)}));
    ASSERT_EQ(answer.status, 200U) << answer.body;
    const auto& rows = operation_->items();
    ASSERT_EQ(rows.size(), 3U);
    EXPECT_EQ(rows[0].items, "0,4");
    EXPECT_EQ(rows[0].traceparent, trace);
    EXPECT_EQ(rows[1].items, "1-2") << "a malformed one is no reason to refuse";
    EXPECT_EQ(rows[1].traceparent, "");
    EXPECT_EQ(rows[2].outcome, "integrity_failure");
    EXPECT_EQ(rows[2].traceparent, trace);
    // A call on one has its header.
    expect_refused(unwrap_, traced(good, trace), "\\\"traceparent\\\"");
    expect_refused(unwrap_, R"({"items":[{"wrapped":"QQ==","traceparent":7}]})",
                   "\\\"items[0].traceparent\\\"");
}

TEST_F(DataApi, AContextAgainstTheRuleFailsItsItemAlone) {
    const auto old = wrap(key_->id);
    const auto good = wrap(key_->id, {{"tenant", "t"}});
    kms::Key key = *key_;
    key.context_rule.required = {"tenant"};
    rig_.catalogue.put(key);
    const auto value =
        parse(post("app", unwrap_,
                   items_of({R"({"wrapped":")" + old + R"("})",
                             R"({"wrapped":")" + good + R"(","context":{"tenant":"t"}})"})));
    EXPECT_EQ(code_at(value, 0), "invalid_argument");
    EXPECT_NE(text_of(*result(value, 0).find("error"), "message").find("context.tenant"),
              std::string::npos);
    EXPECT_EQ(code_at(value, 1), "");
    const auto path = "/v1/keys/" + key.id.to_string();
    expect_refused(path + "/data-keys", "{}", "\\\"context.tenant\\\"");
    expect_refused(path + "/encrypt", R"({"plaintext":"QQ=="})", "\\\"context.tenant\\\"");
    // Who may do nothing learns nothing of the rule.
    EXPECT_EQ(code_of(post("nobody-known", path + "/data-keys", "{}")), "permission_denied");
}

TEST_F(DataApi, RewrapMovesOneToAnotherKeyAndContext) {
    const auto wrapped = wrap(key_->id, {{"a", "b"}});
    const auto plaintext = text_of(
        parse(post("app", unwrap_, R"({"wrapped":")" + wrapped + R"(","context":{"a":"b"}})")),
        "plaintext");
    for (const std::string& target : {second_->id.to_string(), std::string("alias/second")}) {
        const auto answer =
            post("app", rewrap_,
                 R"({"wrapped":")" + wrapped + R"(","context":{"a":"b"},"to_key":")" + target +
                     R"(","to_context":{"c":"d"}})");
        ASSERT_EQ(answer.status, 200U) << answer.body;
        const auto value = parse(answer);
        EXPECT_EQ(text_of(value, "key_id"), second_->id.to_string());
        EXPECT_EQ(answer.body.find(plaintext), std::string::npos);
        EXPECT_EQ(operation_->decided().size(), 2U);
        EXPECT_EQ(operation_->facts().at("from"), key_->id.to_string() + "/1");
        EXPECT_EQ(operation_->facts().at("to"), second_->id.to_string() + "/1");
        const auto opened = parse(
            post("app", unwrap_,
                 R"({"wrapped":")" + text_of(value, "wrapped") + R"(","context":{"c":"d"}})"));
        EXPECT_EQ(text_of(opened, "plaintext"), plaintext);
    }
}

TEST_F(DataApi, RewrapKeepsTheContextUnlessAnotherIsNamedEvenAnEmptyOne) {
    const auto wrapped = wrap(key_->id, {{"a", "b"}});
    const std::string base = R"({"wrapped":")" + wrapped + R"(","context":{"a":"b"},"to_key":")" +
                             second_->id.to_string() + "\"";
    const auto kept = text_of(parse(post("app", rewrap_, base + "}")), "wrapped");
    EXPECT_EQ(post("app", unwrap_, R"({"wrapped":")" + kept + R"(","context":{"a":"b"}})").status,
              200U);
    const auto emptied =
        text_of(parse(post("app", rewrap_, base + R"(,"to_context":{}})")), "wrapped");
    EXPECT_EQ(post("app", unwrap_, R"({"wrapped":")" + emptied + R"("})").status, 200U);
}

TEST_F(DataApi, ARewrapSaysTheCommitmentOfItsDataKeyToWhoAsks) {
    const auto wrapped = wrap(key_->id);
    const auto plaintext = parse(post("app", unwrap_, R"({"wrapped":")" + wrapped + "\"}"));
    const base::SecretBytes data_key(*base::parse_base64(text_of(plaintext, "plaintext")));
    const std::string expected = base::to_base64(base::commitment_of(data_key));
    const std::string item = R"({"wrapped":")" + wrapped + "\"";
    for (const std::string& target : {std::string(), std::string(R"(,"to_key":"alias/second")")}) {
        const auto one = post("app", rewrap_, item + target + R"(,"commitment":true})");
        EXPECT_EQ(text_of(parse(one), "commitment"), expected) << one.body;
        const auto many =
            post("app", rewrap_,
                 R"({"commitment":true,"items":[{"wrapped":"AAAA"},)" + item + target + "}]}");
        EXPECT_NE(many.body.find(R"("commitment":")" + expected), std::string::npos) << many.body;
    }
    EXPECT_EQ(post("app", rewrap_, item + "}").body.find("commitment"), std::string::npos);
    EXPECT_EQ(post("app", rewrap_, item + R"(,"commitment":false})").body.find("commitment"),
              std::string::npos);
    EXPECT_EQ(code_of(post("app", rewrap_, item + R"(,"commitment":"yes"})")), "invalid_argument");
}

TEST_F(DataApi, ABatchOfRewrapsAnswersEachItemAndRecordsWhatCameOfIt) {
    const auto good = wrap(key_->id);
    const auto hidden = wrap(hidden_->id);
    const std::string onto = R"("to_key":"alias/second"})";
    const auto item = [&](const std::string& wrapped, const std::string& more) {
        return R"({"wrapped":")" + wrapped + R"(",)" + more;
    };
    const auto answer = post("app", rewrap_,
                             items_of({item(good, onto), item("QQ==", onto), item(hidden, onto),
                                       item(good, onto), item(good, R"("to_key":"alias/hidden"})"),
                                       item(good, R"("to_key":"alias/no-such"})"),
                                       item(good, R"("context":{"a":"b"},)" + onto)}));
    ASSERT_EQ(answer.status, 200U) << answer.body;
    const auto value = parse(answer);
    EXPECT_FALSE(text_of(result(value, 0), "wrapped").empty());
    EXPECT_EQ(code_at(value, 1), "integrity_failure");
    EXPECT_EQ(base::to_json(result(value, 1)), base::to_json(result(value, 2)))
        << "a key without a right to it looks unknown";
    EXPECT_FALSE(text_of(result(value, 3), "wrapped").empty());
    EXPECT_EQ(code_at(value, 4), "permission_denied");
    EXPECT_EQ(base::to_json(result(value, 4)), base::to_json(result(value, 5)))
        << "an unknown and a forbidden target look alike";
    EXPECT_EQ(code_at(value, 6), "integrity_failure");
    const auto& row = operation_->items().at(0);
    EXPECT_EQ(row.resource, key_->id.to_string() + "/1");
    EXPECT_EQ(row.made, second_->id.to_string() + "/1");
    EXPECT_EQ(row.items, "0,3");
    const auto root = parse(post("root", rewrap_,
                                 items_of({item(good, R"("to_key":"alias/no-such"})"),
                                           item(good, R"("to_key":"alias/hidden"})")})));
    EXPECT_EQ(code_at(root, 0), "not_found");
    EXPECT_EQ(code_at(root, 1), "");
}

TEST_F(DataApi, AnUnknownAliasThatLooksLikeAKnownIdIsNotThatKey) {
    const auto good = wrap(key_->id);
    const auto item = [&](const std::string& to) {
        return R"({"wrapped":")" + good + R"(","to_key":")" + to + "\"}";
    };
    const std::string id = key_->id.to_string();
    const auto value =
        parse(post("app", rewrap_, items_of({item(id), item("alias/" + id), item(id)})));
    EXPECT_EQ(code_at(value, 0), "");
    EXPECT_EQ(code_at(value, 1), "permission_denied");
    EXPECT_EQ(code_at(value, 2), "");
}

TEST_F(DataApi, RewrapNeedsTheRightToBothKeys) {
    const auto good = wrap(second_->id);
    const std::string item = R"({"wrapped":")" + good + "\"";
    // May unwrap there, which is another right.
    EXPECT_EQ(code_of(post("reader", rewrap_, item + "}")), "permission_denied");
    EXPECT_EQ(code_of(post("nobody-known", rewrap_, item + "}")), "permission_denied");
    EXPECT_EQ(code_of(post("", rewrap_, item + "}")), "unauthenticated");
    EXPECT_EQ(post("app", rewrap_, item + "}").status, 200U);
    EXPECT_EQ(code_of(post("app", rewrap_, item + R"(,"to_key":"alias/hidden"})")),
              "permission_denied");
}

TEST_F(DataApi, EveryWrongFieldOfRewrapIsNamed) {
    expect_refused(rewrap_, R"({})", "\\\"wrapped\\\"");
    expect_refused(rewrap_, R"({"wrapped":"*"})", "\\\"wrapped\\\"");
    expect_refused(rewrap_, R"({"wrapped":"QQ==","to_key":"x"})", "\\\"to_key\\\"");
    expect_refused(rewrap_, R"({"wrapped":"QQ==","to_key":"alias/No"})", "\\\"to_key\\\"");
    expect_refused(rewrap_, R"({"wrapped":"QQ==","to_key":7})", "\\\"to_key\\\"");
    expect_refused(rewrap_, R"({"wrapped":"QQ==","to_context":{"a":1}})", "\\\"to_context.a\\\"");
    expect_refused(rewrap_, R"({"wrapped":"QQ==","more":1})", "\\\"more\\\"");
    expect_refused(rewrap_, R"({"items":[]})", "\\\"items\\\"");
    expect_refused(rewrap_, R"({"items":[{"wrapped":"QQ=="},{"wrapped":"QQ==","to_key":"x"}]})",
                   "\\\"items[1].to_key\\\"");
    expect_refused(rewrap_, R"({"items":[{"wrapped":"QQ=="}],"to_key":"x"})", "\\\"to_key\\\"");
}

TEST_F(DataApi, ATextIsEncryptedAndDecryptedByIdAndByAlias) {
    for (const std::string& path : {"/v1/keys/" + key_->id.to_string() + "/encrypt",
                                    std::string("/v1/keys/alias/credentials/encrypt")}) {
        const auto made = post("app", path, R"({"plaintext":"c2VjcmV0","context":{"a":"b"}})");
        ASSERT_EQ(made.status, 200U) << made.body;
        const auto value = parse(made);
        EXPECT_EQ(text_of(value, "key_id"), key_->id.to_string());
        const std::string sealed = text_of(value, "ciphertext");
        const auto opened =
            post("app", "/v1/decrypt", R"({"ciphertext":")" + sealed + R"(","context":{"a":"b"}})");
        ASSERT_EQ(opened.status, 200U) << opened.body;
        EXPECT_EQ(text_of(parse(opened), "plaintext"), "c2VjcmV0");
        EXPECT_EQ(code_of(post("app", "/v1/decrypt", R"({"ciphertext":")" + sealed + R"("})")),
                  "integrity_failure");
        // The right to unwrap is not the right to decrypt, and a text is no data key.
        EXPECT_EQ(code_of(post("reader", "/v1/decrypt", R"({"ciphertext":"QQ=="})")),
                  "permission_denied");
        EXPECT_EQ(
            code_of(post("app", unwrap_, R"({"wrapped":")" + sealed + R"(","context":{"a":"b"}})")),
            "integrity_failure");
    }
    EXPECT_EQ(code_of(post("app", "/v1/keys/alias/hidden/encrypt", R"({"plaintext":"QQ=="})")),
              "permission_denied");
    EXPECT_EQ(code_of(post("root", "/v1/keys/alias/no-such/encrypt", R"({"plaintext":"QQ=="})")),
              "not_found");
}

TEST_F(DataApi, EveryCiphertextThatDoesNotOpenGetsTheSameAnswer) {
    const auto good = rig_.encrypt(key_->id, "text");
    auto tampered = good;
    tampered.back() ^= 1U;
    auto unknown_key = good;
    unknown_key[6] ^= 1U;
    auto other_version = good;
    other_version[25] = 2;
    auto renamed = good;
    std::copy_n("SRdk", 4, renamed.begin());
    const auto hidden = rig_.encrypt(hidden_->id, "text");
    base::WipedString expected;
    for (const auto& bytes : {tampered, unknown_key, other_version, renamed, hidden, base::Bytes(),
                              base::Bytes(5000, 1)}) {
        const auto answer =
            post("app", "/v1/decrypt", R"({"ciphertext":")" + base::to_base64(bytes) + "\"}");
        EXPECT_EQ(answer.status, 422U) << answer.body;
        if (expected.empty()) expected = answer.body;
        EXPECT_EQ(answer.body, expected);
    }
}

TEST_F(DataApi, EveryWrongFieldOfATextIsNamed) {
    const std::string path = "/v1/keys/alias/credentials/encrypt";
    expect_refused(path, "{}", "\\\"plaintext\\\"");
    expect_refused(path, R"({"plaintext":""})", "\\\"plaintext\\\"");
    expect_refused(path, R"({"plaintext":"*"})", "\\\"plaintext\\\"");
    expect_refused(path, R"({"plaintext":"QR=="})", "\\\"plaintext\\\"");
    expect_refused(path, R"({"plaintext":7})", "\\\"plaintext\\\"");
    expect_refused(path, R"({"plaintext":")" + base::to_base64(base::Bytes(4097, 1)) + "\"}",
                   "\\\"plaintext\\\"");
    expect_refused(path, R"({"plaintext":"QQ==","more":1})", "\\\"more\\\"");
    expect_refused("/v1/decrypt", "{}", "\\\"ciphertext\\\"");
    expect_refused("/v1/decrypt", R"({"ciphertext":"*"})", "\\\"ciphertext\\\"");
    expect_refused("/v1/decrypt", R"({"ciphertext":"QQ==","context":7})", "\\\"context\\\"");
    expect_refused("/v1/decrypt", R"({"ciphertext":"QQ==","key":"x"})", "\\\"key\\\"");
    EXPECT_EQ(post("app", path, R"({"plaintext":")" + base::to_base64(base::Bytes(4096, 1)) + "\"}")
                  .status,
              200U);
}

TEST_F(DataApi, TheRightToACompromisedKeyIsAskedForAndRecorded) {
    const auto wrapped = wrap(key_->id);
    const auto text = base::to_base64(rig_.encrypt(key_->id, "text"));
    kms::Key key = *key_;
    key.state = kms::KeyState::compromised;
    rig_.catalogue.put(key);
    const std::string body = R"({"wrapped":")" + wrapped + "\"}";
    const auto refused = post("app", unwrap_, body);
    EXPECT_EQ(code_of(refused), "failed_precondition");
    EXPECT_NE(refused.body.find("use_compromised_key"), std::string::npos) << refused.body;
    EXPECT_EQ(post("root", unwrap_, body).status, 200U);
    ASSERT_EQ(operation_->decided().size(), 2U);
    EXPECT_EQ(operation_->decided()[1].action, "use_compromised_key");
    EXPECT_EQ(post("root", "/v1/decrypt", R"({"ciphertext":")" + text + "\"}").status, 200U);
    EXPECT_EQ(
        post("root", rewrap_, R"({"wrapped":")" + wrapped + R"(","to_key":"alias/second"})").status,
        200U);
    EXPECT_EQ(code_of(post("root", rewrap_, body)), "failed_precondition");
}

TEST_F(DataApi, NoAnswerOfRewrapOrEncryptAndNoRecordHasAPlaintext) {
    const auto fresh = rig_.create_data_keys(key_->id);
    const std::string secret = base::to_base64(fresh.keys[0].plaintext.expose());
    const auto moved = post("app", rewrap_,
                            R"({"wrapped":")" + base::to_base64(fresh.keys[0].wrapped) +
                                R"(","to_key":"alias/second"})");
    EXPECT_EQ(moved.body.find(secret), std::string::npos);
    for (const auto& [name, value] : operation_->facts()) EXPECT_NE(value, secret) << name;
    const auto sealed =
        post("app", "/v1/keys/alias/credentials/encrypt", R"({"plaintext":")" + secret + "\"}");
    EXPECT_EQ(sealed.body.find(secret), std::string::npos);
    for (const auto& [name, value] : operation_->facts()) EXPECT_NE(value, secret) << name;
}

}  // namespace
}  // namespace tests
