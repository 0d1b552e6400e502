#include "server/gate_queue.h"

#include <gtest/gtest.h>

#include <future>
#include <string>
#include <vector>

namespace tests {
namespace {

using server::GateQueue;
using server::Method;
using server::Request;
using server::Response;
using namespace std::chrono_literals;

constexpr std::string_view joint_path = "/joint";
constexpr std::string_view other_path = "/other";

server::Route route(std::string_view pattern, bool joint) {
    server::Route row{Method::POST, pattern, {"act"}, server::Access::authenticated, 100, "", {}};
    if (joint) row.together = [](std::span<server::JointCall>) {};
    return row;
}

class GateQueueTest : public testing::Test {
protected:
    explicit GateQueueTest(std::chrono::milliseconds group_patience = 1h)
        : queue_(100, routes_, group_patience) {}
    ~GateQueueTest() override {
        queue_.close();
        for (std::size_t i = 0; i < pushed_; ++i) queue_.leave();
    }

    bool push(std::string_view path, std::size_t body = 0, Method method = Method::POST) {
        Request request;
        request.method = method;
        request.path = path;
        request.body.assign(body, 'x');
        request.received = std::chrono::steady_clock::now();
        std::function<void(Response)> done = [](const Response&) {};
        if (!queue_.push(request, done)) return false;
        ++pushed_;
        return true;
    }

    // The paths of the next work, as that worker.
    std::vector<std::string> take(GateQueue::Work& worker) {
        EXPECT_TRUE(queue_.next(worker));
        worker.is_telling = true;
        std::vector<std::string> paths;
        for (const auto& job : worker.jobs) paths.emplace_back(job.request.path);
        return paths;
    }
    std::size_t take_count(GateQueue::Work& worker) { return take(worker).size(); }

    // Works of one item that take longer than a quick one does, a whole round of them.
    void be_slow(GateQueue::Work& worker) {
        for (int i = 0; i < 65; ++i) {
            ASSERT_TRUE(push(joint_path));
            ASSERT_EQ(take_count(worker), 1U);
            const auto until = std::chrono::steady_clock::now() + 2 * GateQueue::quick_item;
            while (std::chrono::steady_clock::now() < until) std::this_thread::yield();
        }
    }

    std::vector<server::Route> routes_{route(joint_path, true), route(other_path, false),
                                       route("/with/{name}", true), route("/joint/2", true)};
    GateQueue queue_;
    std::size_t pushed_ = 0;
};

TEST_F(GateQueueTest, WhatWaitsForAJointRouteIsGivenOutTogether) {
    GateQueue::Work worker;
    for (int i = 0; i < 3; ++i) ASSERT_TRUE(push(joint_path));
    EXPECT_EQ(take_count(worker), 3U);
}

TEST_F(GateQueueTest, AGroupHasABound) {
    GateQueue::Work worker;
    const std::size_t all = GateQueue::most_together + 2;
    for (std::size_t i = 0; i < all; ++i) ASSERT_TRUE(push(joint_path));
    EXPECT_EQ(take_count(worker), GateQueue::most_together);
    EXPECT_EQ(take_count(worker), 2U);
}

TEST_F(GateQueueTest, OtherRoutesAreGivenOutOneByOneInTheirOrder) {
    GateQueue::Work worker;
    ASSERT_TRUE(push(other_path));
    ASSERT_TRUE(push(joint_path));
    ASSERT_TRUE(push(other_path));
    ASSERT_TRUE(push(joint_path));
    EXPECT_EQ(take(worker), std::vector<std::string>{"/other"});
    EXPECT_EQ(take(worker), (std::vector<std::string>{"/joint", "/joint"}));
    EXPECT_EQ(take(worker), std::vector<std::string>{"/other"});
}

TEST_F(GateQueueTest, EachJointRouteHasGroupsOfItsOwn) {
    GateQueue::Work first;
    ASSERT_TRUE(push("/joint/2"));
    ASSERT_TRUE(push(joint_path));
    ASSERT_TRUE(push("/joint/2"));
    EXPECT_EQ(take(first), (std::vector<std::string>{"/joint/2", "/joint/2"}));
    GateQueue::Work second;
    EXPECT_EQ(take(second), std::vector<std::string>{"/joint"});
}

TEST_F(GateQueueTest, APathWithParametersAnotherMethodAndALargeBodyAreNoMatterOfGroups) {
    GateQueue::Work worker;
    ASSERT_TRUE(push("/with/{name}"));
    ASSERT_TRUE(push("/with/{name}"));
    ASSERT_TRUE(push(joint_path, 0, Method::GET));
    ASSERT_TRUE(push(joint_path, 0, Method::GET));
    ASSERT_TRUE(push(joint_path, GateQueue::most_joint_bytes + 1));
    ASSERT_TRUE(push(joint_path, GateQueue::most_joint_bytes + 1));
    for (int i = 0; i < 6; ++i) EXPECT_EQ(take_count(worker), 1U);
}

TEST_F(GateQueueTest, WhileAGroupIsWorkedOnTheNextGathers) {
    GateQueue::Work first;
    ASSERT_TRUE(push(joint_path));
    ASSERT_EQ(take_count(first), 1U);
    ASSERT_TRUE(push(joint_path));
    ASSERT_TRUE(push(joint_path));
    ASSERT_TRUE(push(other_path));
    GateQueue::Work second;
    EXPECT_EQ(take(second), std::vector<std::string>{"/other"});  // and not the group
    EXPECT_EQ(take_count(first), 2U);
}

class ImpatientGateQueueTest : public GateQueueTest {
protected:
    ImpatientGateQueueTest() : GateQueueTest(1ms) {}
};

TEST_F(ImpatientGateQueueTest, ASleepingWorkerIsWokenForWhatWaitsBehindAGroupThatHangs) {
    GateQueue::Work hanging;
    ASSERT_TRUE(push(joint_path));
    ASSERT_EQ(take_count(hanging), 1U);
    GateQueue::Work other;
    auto taken = std::async(std::launch::async, [&] { return take_count(other); });
    ASSERT_TRUE(push(joint_path));
    ASSERT_EQ(taken.wait_for(10s), std::future_status::ready);
    EXPECT_EQ(taken.get(), 1U);
}

TEST_F(GateQueueTest, WhereItemsTakeLongWorkersTakeThemSideBySide) {
    GateQueue::Work first;
    be_slow(first);
    ASSERT_TRUE(push(joint_path));
    ASSERT_TRUE(push(joint_path));
    ASSERT_EQ(take_count(first), 1U);
    GateQueue::Work second;
    EXPECT_EQ(take_count(second), 1U);
}

TEST_F(GateQueueTest, ItemsThatBecameQuickAreTakenTogetherAgain) {
    GateQueue::Work worker;
    be_slow(worker);
    for (int i = 0; i < 130; ++i) {
        ASSERT_TRUE(push(joint_path));
        ASSERT_EQ(take_count(worker), 1U);
    }
    for (int i = 0; i < 3; ++i) ASSERT_TRUE(push(joint_path));
    EXPECT_EQ(take_count(worker), 3U);
}

TEST_F(GateQueueTest, WorksThatWereNotDoneSayNothingOfHowLongAnItemTakes) {
    GateQueue::Work worker;
    be_slow(worker);
    for (int i = 0; i < 130; ++i) {
        ASSERT_TRUE(push(joint_path));
        ASSERT_EQ(take_count(worker), 1U);
        worker.is_telling = false;
    }
    for (int i = 0; i < 3; ++i) ASSERT_TRUE(push(joint_path));
    EXPECT_EQ(take_count(worker), 1U);
}

TEST_F(GateQueueTest, WhatAWorkerHandsBackIsTheNextOfOthers) {
    GateQueue::Work first;
    for (std::size_t i = 0; i < 4; ++i) ASSERT_TRUE(push(joint_path, i));
    ASSERT_EQ(take_count(first), 4U);
    ASSERT_TRUE(push(joint_path, 4));
    queue_.hand_back(first, 1);
    EXPECT_EQ(first.jobs.size(), 1U);
    GateQueue::Work second;
    ASSERT_EQ(take_count(second), 4U);
    for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(second.jobs[i].request.body.size(), i + 1);
}

TEST_F(GateQueueTest, ItTakesSoManyAndNoMore) {
    for (int i = 0; i < 50; ++i) {
        ASSERT_TRUE(push(joint_path));
        ASSERT_TRUE(push(other_path));
    }
    EXPECT_FALSE(push(joint_path));
    EXPECT_FALSE(push(other_path));
    GateQueue::Work worker;
    EXPECT_EQ(take_count(worker), GateQueue::most_together);
    EXPECT_TRUE(push(other_path));
}

TEST_F(GateQueueTest, WhatWaitsWhenItClosesIsGivenOutAsRefused) {
    GateQueue::Work worker;
    ASSERT_TRUE(push(joint_path));
    ASSERT_EQ(take_count(worker), 1U);
    ASSERT_TRUE(push(joint_path));
    ASSERT_TRUE(push(other_path));
    queue_.close();
    EXPECT_FALSE(push(other_path));
    GateQueue::Work other;
    EXPECT_EQ(take_count(other), 1U);
    EXPECT_TRUE(other.refused);
    EXPECT_EQ(take_count(other), 1U);
    EXPECT_FALSE(queue_.next(other));
}

TEST_F(GateQueueTest, DrainingWaitsForWhatHasNotLeftAndTakesNothingMore) {
    ASSERT_TRUE(push(joint_path));
    EXPECT_FALSE(queue_.drain(1ms));
    EXPECT_FALSE(push(joint_path));
    queue_.leave();
    --pushed_;
    EXPECT_TRUE(queue_.drain(10s));
}

}  // namespace
}  // namespace tests
