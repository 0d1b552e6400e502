// A database that runs every work twice, as a real one does after a lost connection or a conflict:
// what the first run wrote is rolled back, what it gave out is not.
#pragma once

#include <functional>
#include <utility>

#include "server/database.h"

namespace tests {

class TwiceDatabase final : public server::Database {
public:
    // `inner` must outlive it. `between` is somebody else's change before the second run of a
    // write; may be empty.
    explicit TwiceDatabase(server::Database& inner) : inner_(inner) {}
    Work between;

    server::Dialect dialect() const override { return inner_.dialect(); }
    bool is_shared() const override { return inner_.is_shared(); }
    void migrate(std::string_view room, std::span<const server::Migration> migrations,
                 Unnamed unnamed) override {
        inner_.migrate(room, migrations, unnamed);
    }
    void write(const Work& work) override { inner_.write(twice(work)); }
    void write_in_turn(std::string_view table, const Work& work) override {
        inner_.write_in_turn(table, twice(work));
    }
    void read(const Work& work) override {
        inner_.read([&](server::Session& session) {
            work(session);
            work(session);
        });
    }
    void check() override { inner_.check(); }
    server::DatabaseBackup back_up(const std::string& name) override {
        return inner_.back_up(name);
    }

private:
    Work twice(const Work& work) {
        return [this, &work](server::Session& session) {
            session << "SAVEPOINT first_run";
            work(session);
            session.drop_kept();
            session << "ROLLBACK TO first_run";
            if (between) between(session);
            work(session);
        };
    }
    server::Database& inner_;
};

}  // namespace tests
