// Reads an audit log with the transparency log packages of the Go project (golang.org/x/mod/sumdb, Debian's
// golang-golang-x-mod-dev), which share nothing with ours: signed notes, tiles, inclusion and consistency.
//
//	main FOLDER VERIFIER_KEY     VERIFIER_KEY as "<name>+<key id>+<base64>"
package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const tileHeight = 8

// tiles reads what C2SP tlog-tiles stores: tile/<L>/<N>, where the library asks for tile/8/<L>/<N>.
type tiles struct{ folder string }

func (t tiles) Height() int { return tileHeight }

func (t tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, tile := range wanted {
		path := strings.Replace(tile.Path(), "tile/8/", "tile/", 1)
		data, err := os.ReadFile(filepath.Join(t.folder, path))
		if err != nil && tile.W < 1<<tileHeight { // a tile that was completed since
			full := tile
			full.W = 1 << tileHeight
			path = strings.Replace(full.Path(), "tile/8/", "tile/", 1)
			data, err = os.ReadFile(filepath.Join(t.folder, path))
		}
		if err != nil {
			return nil, err
		}
		if len(data) < tile.W*tlog.HashSize {
			return nil, fmt.Errorf("%s is too short", path)
		}
		all = append(all, data[:tile.W*tlog.HashSize])
	}
	return all, nil
}

func (t tiles) SaveTiles([]tlog.Tile, [][]byte) {}

// The log's text has the origin in its first line; the library's own tree notes say "go.sum database tree".
func parseTree(text string) (tlog.Tree, error) {
	lines := strings.SplitN(text, "\n", 2)
	if len(lines) != 2 {
		return tlog.Tree{}, fmt.Errorf("no tree")
	}
	return tlog.ParseTree([]byte("go.sum database tree\n" + lines[1]))
}

func run(folder, key string) error {
	verifier, err := note.NewVerifier(key)
	if err != nil {
		return err
	}
	history, err := os.ReadFile(filepath.Join(folder, "checkpoints"))
	if err != nil {
		return err
	}
	var trees []tlog.Tree
	// A note is two blocks, its text and its signatures, each with an empty line behind it.
	blocks := strings.SplitAfter(string(history), "\n\n")
	for i := 0; i+1 < len(blocks); i += 2 {
		signed := blocks[i] + strings.TrimSuffix(blocks[i+1], "\n")
		opened, err := note.Open([]byte(signed), note.VerifierList(verifier))
		if err != nil {
			return err
		}
		tree, err := parseTree(opened.Text)
		if err != nil {
			return err
		}
		trees = append(trees, tree)
	}
	last := trees[len(trees)-1]
	reader := tlog.TileHashReader(last, tiles{folder})
	for _, tree := range trees {
		proof, err := tlog.ProveTree(last.N, tree.N, reader)
		if err != nil {
			return err
		}
		if err := tlog.CheckTree(proof, last.N, last.Hash, tree.N, tree.Hash); err != nil {
			return fmt.Errorf("checkpoint of %d records: %v", tree.N, err)
		}
	}
	log, err := os.ReadFile(filepath.Join(folder, "audit.jsonl"))
	if err != nil {
		return err
	}
	records := bytes.Split(bytes.TrimSuffix(log, []byte("\n")), []byte("\n"))
	if int64(len(records)) < last.N {
		return fmt.Errorf("%d records for a tree of %d", len(records), last.N)
	}
	for i := int64(0); i < last.N; i++ {
		proof, err := tlog.ProveRecord(last.N, i, reader)
		if err != nil {
			return err
		}
		if err := tlog.CheckRecord(proof, last.N, last.Hash, i, tlog.RecordHash(records[i])); err != nil {
			return fmt.Errorf("record %d: %v", i+1, err)
		}
	}
	fmt.Printf("%d checkpoints and %d records are good\n", len(trees), last.N)
	return nil
}

func main() {
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
