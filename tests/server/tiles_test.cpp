#include "server/tiles.h"

#include <gtest/gtest.h>

#include "base/file.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_directory.h"

namespace {

using server::MerkleHash;
using server::tile_path;

TEST(Tiles, PathsAreThoseOfTheStandard) {
    EXPECT_EQ(tile_path("0", 0, 256), "tile/0/000");
    EXPECT_EQ(tile_path("0", 273, 112), "tile/0/273.p/112");
    EXPECT_EQ(tile_path("1", 1234067, 256), "tile/1/x001/x234/067");
    EXPECT_EQ(tile_path("entries", 999000, 255), "tile/entries/x999/000.p/255");
}

class TilesTest : public testing::Test {
protected:
    static std::string entry(std::uint64_t index) { return "entry " + std::to_string(index); }
    static void append(server::TileWriter& writer, std::uint64_t until) {
        while (writer.size() < until) writer.append(entry(writer.size()));
    }
    MerkleHash root_of(std::uint64_t size) {
        server::MerkleTree tree;
        while (tree.size() < size) tree.append(tree.hasher().leaf(entry(tree.size())));
        return tree.root();
    }
    bool has(const std::filesystem::path& name) {
        return std::filesystem::exists(folder_.path() / name);
    }
    std::string read(const std::filesystem::path& name) {
        return base::read_file(folder_.path() / name, 1024UL * 1024);
    }
    tests::TemporaryDirectory folder_;
};

// The example of C2SP tlog-tiles.
TEST_F(TilesTest, TreeOf70000IsLaidOutAsTheStandardSays) {
    server::TileWriter writer(folder_.path());
    append(writer, 70'000);
    writer.flush();
    EXPECT_TRUE(has("tile/0/272"));
    EXPECT_FALSE(has("tile/0/273"));
    EXPECT_TRUE(has("tile/0/273.p/112"));
    EXPECT_TRUE(has("tile/1/000"));
    EXPECT_TRUE(has("tile/1/001.p/17"));
    EXPECT_TRUE(has("tile/2/000.p/1"));
    EXPECT_FALSE(has("tile/3"));
    EXPECT_EQ(read("tile/0/000").size(), 8192U);
    EXPECT_EQ(read("tile/0/273.p/112").size(), 112U * 32);
    EXPECT_EQ(writer.root(), root_of(70'000));

    server::TileReader reader(folder_.path(), 70'000);
    server::MerkleHasher hasher;
    EXPECT_EQ(server::tree_root(70'000, reader.nodes(), hasher), root_of(70'000));
    for (const std::uint64_t index : {0U, 255U, 256U, 65'535U, 65'536U, 69'999U}) {
        const auto proof = server::inclusion_proof(index, 70'000, reader.nodes(), hasher);
        EXPECT_TRUE(server::verify_inclusion(hasher.leaf(entry(index)), index, 70'000, proof,
                                             root_of(70'000), hasher));
    }
    // Of an older, smaller tree, too.
    server::TileReader older(folder_.path(), 65'700);
    EXPECT_EQ(server::tree_root(65'700, older.nodes(), hasher), root_of(65'700));
}

TEST_F(TilesTest, BundlesHoldEachEntryBehindItsLength) {
    server::TileWriter writer(folder_.path());
    writer.append("");
    writer.append(std::string(300, 'x'));
    writer.flush();
    EXPECT_EQ(read("tile/entries/000.p/2"), std::string("\0\0\x01\x2C", 4) + std::string(300, 'x'));
}

TEST_F(TilesTest, EntryThatNoBundleCanHoldIsInTheTreeOnly) {
    server::TileWriter writer(folder_.path());
    writer.append(std::string(65'535, 'x'));
    writer.flush();
    EXPECT_TRUE(has("tile/entries/000.p/1"));
    writer.append(std::string(65'536, 'x'));
    writer.flush();
    EXPECT_FALSE(has("tile/entries/000.p/2"));
    EXPECT_TRUE(has("tile/0/000.p/2"));
    append(writer, 257);
    writer.flush();
    EXPECT_FALSE(has("tile/entries/000"));
    EXPECT_TRUE(has("tile/entries/001.p/1"));
}

TEST_F(TilesTest, PartialTilesGoWhenTheFullOneComes) {
    server::TileWriter writer(folder_.path());
    append(writer, 10);
    writer.flush();
    append(writer, 200);
    writer.flush();
    EXPECT_TRUE(has("tile/0/000.p/10"));  // a checkpoint may be of that size
    append(writer, 256);
    writer.flush();
    EXPECT_TRUE(has("tile/0/000"));
    EXPECT_TRUE(has("tile/entries/000"));
    EXPECT_FALSE(has("tile/0/000.p"));
    EXPECT_FALSE(has("tile/entries/000.p"));
}

TEST_F(TilesTest, RestoredTreeGoesOnAsIfItHadNeverStopped) {
    for (const std::uint64_t size : {0U, 256U, 512U, 65'536U, 66'048U}) {
        {
            server::TileWriter writer(folder_.path());
            append(writer, size + 77);
            writer.flush();
        }
        server::TileWriter again(folder_.path());
        again.restore(size);
        EXPECT_EQ(again.size(), size);
        EXPECT_EQ(again.root(), root_of(size));
        append(again, size + 300);
        again.flush();
        EXPECT_EQ(again.root(), root_of(size + 300));
        server::TileReader reader(folder_.path(), size + 300);
        server::MerkleHasher hasher;
        EXPECT_EQ(server::tree_root(size + 300, reader.nodes(), hasher), root_of(size + 300));
    }
}

TEST_F(TilesTest, MissingTilesAreNamed) {
    server::TileWriter writer(folder_.path());
    append(writer, 600);
    writer.flush();
    std::filesystem::remove_all(folder_.path() / "tile/1");
    server::TileWriter again(folder_.path());
    EXPECT_ERROR_SAYING(failed_precondition, "tile/1/000.p/2", again.restore(512));
    server::TileReader reader(folder_.path(), 600);
    EXPECT_ERROR_SAYING(not_found, "tile/1/000.p/2", reader.node(8, 1));
    EXPECT_ERROR(not_found, reader.leaf(600));
}

TEST_F(TilesTest, DiskThatFailsIsSaidAndTriedAgain) {
    server::TileWriter writer(folder_.path());
    append(writer, 300);
    folder_.write("tile", "in the way");
    EXPECT_ERROR(unavailable, writer.flush());
    std::filesystem::remove(folder_ / "tile");
    append(writer, 301);
    writer.flush();
    EXPECT_TRUE(has("tile/0/000"));
    EXPECT_TRUE(has("tile/0/001.p/45"));
    EXPECT_EQ(writer.root(), root_of(301));
}

}  // namespace
