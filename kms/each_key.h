// Batches under several master keys: one that the token can't use is no matter of the others.
#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "base/error.h"
#include "hsm/token.h"

namespace kms {

// A token that hangs takes longer to say so.
inline constexpr std::chrono::milliseconds quick_failure{100};

// What `work` answers to all items, in order. When it throws unavailable, and they are under
// several keys of the token, as `key_of` says, it may be one of these: each is asked by itself
// then, and what `work` throws of it is the answer of its items. No more keys are asked once the
// failures have taken longer than `patience` together. Throws what `work` throws for all items when
// none of them got an answer, or it is not unavailable. On the caller's thread.
template <typename Item, typename KeyOf, typename Work>
auto answer_each_key(std::span<const Item> items, KeyOf key_of, Work work,
                     std::chrono::nanoseconds patience = quick_failure) {
    using Clock = std::chrono::steady_clock;
    std::optional<base::Error> failure;
    std::map<hsm::KeyId, std::vector<std::size_t>> places;
    const auto start = Clock::now();
    try {
        return work(items);
    } catch (const base::Error& error) {
        if (error.code() != base::ErrorCode::unavailable) throw;
        for (std::size_t i = 0; i < items.size(); ++i) places[key_of(items[i])].push_back(i);
        if (places.size() < 2) throw;
        failure.emplace(error);
    }
    std::chrono::nanoseconds lost = Clock::now() - start;
    decltype(work(items)) answers;
    answers.reserve(items.size());
    for (std::size_t i = 0; i < items.size(); ++i) {
        answers.emplace_back(base::Error(base::ErrorCode::unavailable,
                                         "the token is busy with what fails, please try again"));
    }
    bool is_any_answered = false;
    for (const auto& [key, own] : places) {
        if (lost > patience) break;
        std::vector<Item> asked;
        asked.reserve(own.size());
        for (const std::size_t place : own) asked.push_back(items[place]);
        const auto begin = Clock::now();
        try {
            auto some = work(std::span<const Item>(asked));
            for (std::size_t i = 0; i < own.size(); ++i) answers[own[i]] = std::move(some[i]);
            is_any_answered = true;
        } catch (const base::Error& error) {
            if (error.code() != base::ErrorCode::unavailable) throw;
            for (const std::size_t place : own) answers[place] = error;
            lost += Clock::now() - begin;
        }
    }
    if (!is_any_answered) throw base::Error(*failure);
    return answers;
}

}  // namespace kms
