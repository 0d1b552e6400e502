// The Merkle tree of a log on disk, in the layout of C2SP tlog-tiles, so that standard tools read
// it where it lies:
//
//     <folder>/tile/<L>/<N>            256 hashes: the roots of complete subtrees of 256^L leaves
//     <folder>/tile/<L>/<N>.p/<W>      the first W of them, for a tree that ends there
//     <folder>/tile/entries/<N>        the entries themselves, each behind its length (16 bit)
//
// N is written in groups of three digits, all but the last with an x: 1234067 is x001/x234/067.
// Hashes and files only: no signature, no thread, no opinion on what an entry says.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/merkle.h"

namespace server {

inline constexpr unsigned tile_height = 8;
inline constexpr std::uint64_t tile_width = 256;
// An entry bundle has 16 bits for an entry's length.
inline constexpr std::size_t max_bundled_entry = 65535;

// `level` as a number or "entries"; `width` 1..255 for a partial tile, 256 for a full one.
std::filesystem::path tile_path(std::string_view level, std::uint64_t index, std::uint64_t width);

// Makes the tiles of a tree that grows, and its root. Full tiles are written durably; partial ones,
// which can be made again from the entries, are not, and are removed when the full one is there.
// Not thread-safe.
class TileWriter {
public:
    // `folder` must exist; folders of tiles are made as needed, mode 0700, files 0600.
    explicit TileWriter(std::filesystem::path folder) : folder_(std::move(folder)) {}

    // Goes on with the tree of `size` leaves, a multiple of 256, whose tiles are in the folder.
    // Throws failed_precondition naming the tile that is missing; then this is not to be used.
    void restore(std::uint64_t size);

    // The next entry; in memory only. Its leaf hash.
    MerkleHash append(std::string_view entry);
    // Writes what was appended. Throws unavailable when the disk fails: call it again later.
    void flush();

    std::uint64_t size() const { return tree_.size(); }
    MerkleHash root() { return tree_.root(); }
    MerkleHasher& hasher() { return tree_.hasher(); }

private:
    // A level of hashes, or the entries.
    struct Edge {
        std::string content;      // of the tile at the right edge, as in its file
        std::uint64_t index = 0;  // of that tile
        std::uint64_t width = 0;  // 0 to 255
        bool fits = true;         // false: an entry is too long for a bundle, which is left out
    };
    struct FullTile {
        std::string level;
        std::uint64_t index;
        std::string content;
    };
    void append_hash(std::size_t level, const MerkleHash& hash);
    void complete(Edge& edge, const std::string& level);
    void write_full(const FullTile& tile) const;
    void write_partial(const Edge& edge, const std::string& level) const;

    std::filesystem::path folder_;
    MerkleTree tree_;
    std::vector<Edge> levels_;
    Edge entries_;
    std::vector<FullTile> unwritten_;
};

// Reads hashes of a tree of `size` leaves out of its tiles. Not thread-safe.
class TileReader {
public:
    TileReader(std::filesystem::path folder, std::uint64_t size)
        : folder_(std::move(folder)), size_(size) {}

    // As MerkleNodes asks. Throws not_found naming the tile that is missing or too short.
    MerkleHash node(unsigned height, std::uint64_t index);
    MerkleNodes nodes() {
        return [this](unsigned height, std::uint64_t index) { return node(height, index); };
    }
    MerkleHash leaf(std::uint64_t index) { return node(0, index); }

private:
    const MerkleHash& hash(unsigned level, std::uint64_t index);
    void load(unsigned level, std::uint64_t tile);

    std::filesystem::path folder_;
    std::uint64_t size_;
    MerkleHasher hasher_;
    struct Loaded {
        std::optional<std::uint64_t> tile;
        std::vector<MerkleHash> hashes;
    };
    std::array<Loaded, 64 / tile_height> loaded_;  // the last tile of each level
};

// The first `width` hashes of one tile, from the full one or a partial one; empty when none that is
// wide enough is there.
std::vector<MerkleHash> read_tile(const std::filesystem::path& folder, unsigned level,
                                  std::uint64_t index, std::uint64_t width);

}  // namespace server
