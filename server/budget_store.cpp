#include "server/budget_store.h"

#include <algorithm>
#include <array>

#include "server/database.h"

namespace server {
namespace {

// Times are milliseconds since 1970.
constexpr std::array budget_migrations = {Migration{1, R"sql(
CREATE TABLE budget_counters (
  caller TEXT NOT NULL,
  limit_id TEXT NOT NULL,
  counted TEXT NOT NULL,
  period BIGINT NOT NULL,
  used BIGINT NOT NULL,
  PRIMARY KEY (caller, limit_id, counted)
);
CREATE TABLE budget_records (
  caller TEXT NOT NULL,
  limit_id TEXT NOT NULL,
  counted TEXT NOT NULL,
  period BIGINT NOT NULL,
  record BIGINT NOT NULL,
  PRIMARY KEY (caller, limit_id, counted, period, record)
);
CREATE TABLE budget_suspensions (
  caller TEXT PRIMARY KEY,
  since BIGINT NOT NULL,
  limit_id TEXT NOT NULL,
  overruns BIGINT NOT NULL
)
)sql"},
                                          Migration{2, R"sql(
ALTER TABLE budget_suspensions ADD COLUMN recorded BIGINT NOT NULL DEFAULT 1;
CREATE TABLE budget_lifts (
  caller TEXT PRIMARY KEY,
  lifted BIGINT NOT NULL
)
)sql"},
                                          Migration{3, R"sql(
ALTER TABLE budget_suspensions ADD COLUMN recorder TEXT NOT NULL DEFAULT '';
ALTER TABLE budget_suspensions ADD COLUMN claimed BIGINT NOT NULL DEFAULT 0
)sql"},
                                          Migration{4, R"sql(
CREATE TABLE budget_overruns (
  caller TEXT PRIMARY KEY,
  since BIGINT NOT NULL,
  overruns BIGINT NOT NULL
)
)sql"}};

using soci::into;
using soci::use;

constexpr std::size_t records_in_a_question = 500;

struct StoredCounter {
    long long period = 0;
    long long used = 0;
};

std::optional<StoredCounter> find_counter(soci::session& sql, const CounterName& name) {
    StoredCounter counter;
    sql << "SELECT period, used FROM budget_counters WHERE caller = :caller AND limit_id = :limit "
           "AND counted = :counted",
        into(counter.period), into(counter.used), use(name.caller, "caller"),
        use(name.limit, "limit"), use(name.counted, "counted");
    return sql.got_data() ? std::optional(counter) : std::nullopt;
}

void write_counter(soci::session& sql, const CounterName& name, const StoredCounter& counter) {
    sql << "INSERT INTO budget_counters (caller, limit_id, counted, period, used) "
           "VALUES (:caller, :limit, :counted, :period, :used) "
           "ON CONFLICT (caller, limit_id, counted) DO UPDATE SET period = excluded.period, "
           "used = excluded.used",
        use(name.caller, "caller"), use(name.limit, "limit"), use(name.counted, "counted"),
        use(counter.period, "period"), use(counter.used, "used");
}

void write_records(soci::session& sql, const CounterName& name, long long period,
                   std::span<const std::int64_t> opened) {
    for (const std::int64_t each : opened) {
        const long long record = each;
        sql << "INSERT INTO budget_records (caller, limit_id, counted, period, record) "
               "VALUES (:caller, :limit, :counted, :period, :record) ON CONFLICT DO NOTHING",
            use(name.caller, "caller"), use(name.limit, "limit"), use(name.counted, "counted"),
            use(period, "period"), use(record, "record");
    }
}

void forget_records_before(soci::session& sql, const CounterName& name, long long period) {
    sql << "DELETE FROM budget_records WHERE caller = :caller AND limit_id = :limit AND "
           "counted = :counted AND period < :period",
        use(name.caller, "caller"), use(name.limit, "limit"), use(name.counted, "counted"),
        use(period, "period");
}

bool is_suspended(soci::session& sql, const std::string& caller) {
    int one = 0;
    sql << "SELECT 1 FROM budget_suspensions WHERE caller = :caller", into(one),
        use(caller, "caller");
    return sql.got_data();
}

// Of the caller's last suspension that was lifted; or none.
base::Time last_lift(soci::session& sql, const std::string& caller) {
    long long lifted = 0;
    sql << "SELECT lifted FROM budget_lifts WHERE caller = :caller", into(lifted),
        use(caller, "caller");
    return sql.got_data() ? base::from_milliseconds(lifted) : base::Time{};
}

// Lifts are told apart by their times, also those of one moment.
base::Time write_lift(soci::session& sql, const std::string& caller, base::Time now) {
    const base::Time before = last_lift(sql, caller);
    const long long lifted = base::to_milliseconds(now) + (before == now ? 1 : 0);
    sql << "INSERT INTO budget_lifts (caller, lifted) VALUES (:caller, :lifted) "
           "ON CONFLICT (caller) DO UPDATE SET lifted = excluded.lifted",
        use(caller, "caller"), use(lifted, "lifted");
    return base::from_milliseconds(lifted);
}

void forget_overruns(soci::session& sql, const std::string& caller) {
    sql << "DELETE FROM budget_overruns WHERE caller = :caller", use(caller, "caller");
}

// The new ones, with what was written down of the same time. Nodes' clocks differ by a little, so
// "the same time" lies on both sides.
CountedOverruns with_earlier(soci::session& sql, const NewOverruns& more,
                             std::chrono::seconds within) {
    CountedOverruns counted{more.count, more.first};
    counted.lift = last_lift(sql, more.caller);
    if (counted.lift != more.lift && counted.lift > more.first) {
        counted.overruns = 1;
        counted.since = more.last;
    }
    long long since = 0;
    long long overruns = 0;
    sql << "SELECT since, overruns FROM budget_overruns WHERE caller = :caller", into(since),
        into(overruns), use(more.caller, "caller");
    if (!sql.got_data()) return counted;
    const base::Time begun = base::from_milliseconds(since);
    if (std::chrono::abs(more.last - begun) > within) return counted;
    counted.overruns += static_cast<std::uint64_t>(overruns);
    counted.since = begun;
    return counted;
}

void write_overruns(soci::session& sql, const std::string& caller, const CountedOverruns& counted) {
    const long long since = base::to_milliseconds(counted.since);
    const auto overruns = static_cast<long long>(counted.overruns);
    sql << "INSERT INTO budget_overruns (caller, since, overruns) VALUES (:caller, :since, "
           ":overruns) ON CONFLICT (caller) DO UPDATE SET since = excluded.since, "
           "overruns = excluded.overruns",
        use(caller, "caller"), use(since, "since"), use(overruns, "overruns");
}

void write_suspension(soci::session& sql, const NewOverruns& more, std::uint64_t total,
                      const std::string& recorder) {
    const long long since = base::to_milliseconds(more.last);
    const auto overruns = static_cast<long long>(total);
    sql << "INSERT INTO budget_suspensions (caller, since, limit_id, overruns, recorded, "
           "recorder, claimed) VALUES (:caller, :since, :limit, :overruns, 0, :recorder, "
           ":claimed)",
        use(more.caller, "caller"), use(since, "since"), use(more.limit, "limit"),
        use(overruns, "overruns"), use(recorder, "recorder"), use(since, "claimed");
}

}  // namespace

BudgetStore::BudgetStore(Database& database) : database_(database) {
    database.migrate("budget", budget_migrations);
}

BudgetReservation BudgetStore::reserve(const CounterName& name, const Period& period,
                                       std::uint64_t wanted, std::uint64_t limit,
                                       std::span<const std::int64_t> opened) {
    BudgetReservation reservation;
    database_.write_in_turn("budget_counters", [&](soci::session& sql) {
        const long long begin = base::to_milliseconds(period.begin);
        const long long end = base::to_milliseconds(period.end);
        const auto stored = find_counter(sql, name);
        StoredCounter counter = stored.value_or(StoredCounter{begin, 0});
        if (counter.period < begin) {
            counter = {begin, 0};
            forget_records_before(sql, name, begin);
        } else if (counter.period > end) {
            counter.period = begin;
        }
        const auto used = static_cast<std::uint64_t>(counter.used);
        const std::uint64_t left = used < limit ? limit - used : 0;
        const std::uint64_t granted = std::min(wanted, left);
        counter.used += static_cast<long long>(granted);
        write_counter(sql, name, counter);
        write_records(sql, name, counter.period, opened);
        reservation = {granted, used + granted, base::from_milliseconds(counter.period)};
    });
    return reservation;
}

void BudgetStore::give_back(const CounterName& name, base::Time begin, std::uint64_t unused,
                            std::span<const std::int64_t> opened) {
    database_.write_in_turn("budget_counters", [&](soci::session& sql) {
        auto counter = find_counter(sql, name);
        if (!counter || counter->period != base::to_milliseconds(begin)) return;
        counter->used = std::max(0LL, counter->used - static_cast<long long>(unused));
        write_counter(sql, name, *counter);
        write_records(sql, name, counter->period, opened);
    });
}

std::vector<std::int64_t> BudgetStore::records(const CounterName& name, base::Time begin) {
    std::vector<std::int64_t> found;
    database_.read([&](soci::session& sql) {
        found.clear();
        const long long period = base::to_milliseconds(begin);
        const soci::rowset<long long> rows =
            (sql.prepare << "SELECT record FROM budget_records WHERE caller = :caller AND "
                            "limit_id = :limit AND counted = :counted AND period = :period",
             use(name.caller, "caller"), use(name.limit, "limit"), use(name.counted, "counted"),
             use(period, "period"));
        found.assign(rows.begin(), rows.end());
    });
    return found;
}

std::vector<std::int64_t> BudgetStore::known_records(const CounterName& name, base::Time begin,
                                                     std::span<const std::int64_t> wanted) {
    std::vector<std::int64_t> found;
    database_.read([&](soci::session& sql) {
        found.clear();
        const long long period = base::to_milliseconds(begin);
        for (std::size_t at = 0; at < wanted.size(); at += records_in_a_question) {
            std::string numbers;
            const auto some =
                wanted.subspan(at).first(std::min(records_in_a_question, wanted.size() - at));
            for (const std::int64_t record : some) {
                numbers += (numbers.empty() ? "" : ",") + std::to_string(record);
            }
            const soci::rowset<long long> rows =
                (sql.prepare << "SELECT record FROM budget_records WHERE caller = :caller AND "
                                "limit_id = :limit AND counted = :counted AND period = :period "
                                "AND record IN (" +
                                    numbers + ")",
                 use(name.caller, "caller"), use(name.limit, "limit"), use(name.counted, "counted"),
                 use(period, "period"));
            found.insert(found.end(), rows.begin(), rows.end());
        }
    });
    return found;
}

bool BudgetStore::is_shared() const { return database_.is_shared(); }

CountedOverruns BudgetStore::count_overruns(const NewOverruns& overruns, const Suspension& rule,
                                            const std::string& recorder) {
    CountedOverruns counted;
    database_.write_in_turn("budget_overruns", [&](soci::session& sql) {
        counted = {0, overruns.last, CountedOverruns::Suspended::before, overruns.lift};
        if (is_suspended(sql, overruns.caller)) return;
        counted = with_earlier(sql, overruns, rule.within);
        if (counted.overruns < rule.overruns) {
            write_overruns(sql, overruns.caller, counted);
            return;
        }
        write_suspension(sql, overruns, counted.overruns, recorder);
        forget_overruns(sql, overruns.caller);
        counted.suspended = CountedOverruns::Suspended::now;
    });
    return counted;
}

bool BudgetStore::claim_recording(const SuspendedCaller& as_read, const std::string& recorder,
                                  base::Time now) {
    bool is_ours = false;
    database_.write([&](soci::session& sql) {
        int one = 0;
        sql << "SELECT 1 FROM budget_suspensions WHERE caller = :caller AND recorder = :recorder "
               "AND recorded = 0",
            into(one), use(as_read.caller, "caller"), use(as_read.recorder, "recorder");
        is_ours = sql.got_data();
        if (!is_ours) return;
        const long long claimed = base::to_milliseconds(now);
        sql << "UPDATE budget_suspensions SET recorder = :recorder, claimed = :claimed "
               "WHERE caller = :caller",
            use(recorder, "recorder"), use(claimed, "claimed"), use(as_read.caller, "caller");
    });
    return is_ours;
}

void BudgetStore::mark_recorded(const std::string& caller, const std::string& recorder) {
    database_.write([&](soci::session& sql) {
        sql << "UPDATE budget_suspensions SET recorded = 1 WHERE caller = :caller AND "
               "recorder = :recorder",
            use(caller, "caller"), use(recorder, "recorder");
    });
}

void BudgetStore::give_up_recording(const std::string& caller, const std::string& recorder) {
    database_.write([&](soci::session& sql) {
        sql << "UPDATE budget_suspensions SET recorder = '' WHERE caller = :caller AND "
               "recorder = :recorder AND recorded = 0",
            use(caller, "caller"), use(recorder, "recorder");
    });
}

std::optional<base::Time> BudgetStore::lift(const std::string& caller, base::Time now) {
    std::optional<base::Time> lifted;
    database_.write([&](soci::session& sql) {
        lifted.reset();
        forget_overruns(sql, caller);
        if (!is_suspended(sql, caller)) return;
        sql << "DELETE FROM budget_suspensions WHERE caller = :caller", use(caller, "caller");
        lifted = write_lift(sql, caller, now);
    });
    return lifted;
}

std::vector<SuspendedCaller> BudgetStore::suspended() {
    std::vector<SuspendedCaller> all;
    database_.read([&](soci::session& sql) {
        all.clear();
        SuspendedCaller one;
        long long since = 0;
        long long overruns = 0;
        long long recorded = 0;
        long long claimed = 0;
        soci::statement statement =
            (sql.prepare << "SELECT caller, since, limit_id, overruns, recorded, recorder, claimed "
                            "FROM budget_suspensions ORDER BY caller",
             into(one.caller), into(since), into(one.limit), into(overruns), into(recorded),
             into(one.recorder), into(claimed));
        statement.execute();
        while (statement.fetch()) {
            one.since = base::from_milliseconds(since);
            one.overruns = static_cast<std::uint64_t>(overruns);
            one.recorded = recorded != 0;
            one.claimed = base::from_milliseconds(claimed);
            all.push_back(one);
        }
    });
    return all;
}

std::vector<StoredUsage> BudgetStore::usage(const std::string& caller) {
    std::vector<StoredUsage> all;
    database_.read([&](soci::session& sql) {
        all.clear();
        StoredUsage one;
        long long period = 0;
        long long used = 0;
        soci::statement statement =
            (sql.prepare << "SELECT limit_id, counted, period, used FROM budget_counters "
                            "WHERE caller = :caller ORDER BY limit_id, counted",
             into(one.limit), into(one.counted), into(period), into(used), use(caller, "caller"));
        statement.execute();
        while (statement.fetch()) {
            one.begin = base::from_milliseconds(period);
            one.used = static_cast<std::uint64_t>(used);
            all.push_back(one);
        }
    });
    return all;
}

}  // namespace server
