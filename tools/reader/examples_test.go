package main

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/klauspost/reedsolomon"
)

// Example gives the bytes of the hex example below a heading of docs/format.md, up to the n-th.
func example(t *testing.T, heading string, n int) []byte {
	page, err := os.ReadFile("../../docs/format.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(page[bytes.Index(page, []byte("\n"+heading)):])
	text = strings.SplitN(strings.Split(text, "```hex\n")[n], "```", 2)[0]
	text = regexp.MustCompile(`;.*|\s`).ReplaceAllString(text, "")
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(heading, err)
	}
	return b
}

func count(from, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(from + i)
	}
	return b
}

func TestExamples(t *testing.T) {
	same := func(what string, got, expected []byte) {
		if !bytes.Equal(got, expected) {
			t.Errorf("%s: found %x, expected %x", what, got, expected)
		}
	}
	key := count(0, 32)
	same("2.3", must(unzstd.DecodeAll(example(t, "### 2.3", 1)[1:], nil)), bytes.Repeat([]byte("a"), 64))
	same("2.4", dare(key, example(t, "### 2.4", 1)), []byte{0})
	stream := make([]byte, 40)
	ctr(key, 0).XORKeyStream(stream, stream)
	same("2.5", stream[8:], example(t, "### 2.5", 1))
	ctr(key, 16).XORKeyStream(stream[16:], stream[16:])
	same("2.5 from block 1", stream[16:], make([]byte, 24))
	rs := example(t, "### 2.6", 1)
	parts := [][]byte{rs[:4], rs[4:8], rs[8:12], make([]byte, 4), make([]byte, 4)}
	check(must(reedsolomon.New(3, 2, reedsolomon.WithCauchyMatrix())).Encode(parts))
	same("2.6", append(parts[3], parts[4]...), rs[12:])

	account = ed25519.NewKeyFromSeed(derive("account signing key", key)).Public().(ed25519.PublicKey)
	certificate(example(t, "### 3.1", 1))
	same("3.1", devices[1][0], ed25519.NewKeyFromSeed(key).Public().(ed25519.PublicKey))
	epoch := string(count(0, 16)) + "\x01\x00\x00\x00"
	domain(example(t, "### 3.2", 1))
	same("3.2", blockKeys[epoch], count(80, 32))
	recovery, arenaKeys = key, map[string][]byte{}
	unwrap(example(t, "### 3.3", 1))
	same("3.3", arenaKeys[epoch], count(112, 32))
	scoreKeys = map[string][]byte{}
	fromKeyring(example(t, "### 3.4", 1))
	same("3.4", scoreKeys[epoch[:16]], count(16, 32))
	source = "x/catalog/00000001-0807060504030201-0000000000000002"
	log := example(t, "## 4", 1)
	recordLog(log)
	same("4", logs[source[1:]], log) // all of it is valid
	clump := example(t, "## 5", 1)
	index[string(clump[:32])] = []place{func() ([]byte, string) { return clump[32:], epoch }}
	same("5", block(string(clump[:32]), 1, 5), []byte("hello"))
	header := example(t, "## 6", 1)
	same("6", []byte(sum(header[:128])+sum(header[160:])), append(append([]byte{}, header[128:160]...), header[96:128]...))
	fragment := make([]byte, 20480)
	for i := range fragment {
		fragment[i] = byte(i % 251)
	}
	padded := append(example(t, "## 7", 1), make([]byte, 4096-188)...)
	source = "x/" + hex.EncodeToString(key)
	fragmentFile(bytes.Join([][]byte{padded, fragment, padded}, nil))
	same("7", arenas[hex.EncodeToString(key)].parts[2], fragment)
	delete(arenas, hex.EncodeToString(key))
	delete(index, string(clump[:32]))
	open := example(t, "## 8", 1)
	record(2, &rd{open[:len(open)-1]})
	record(2, &rd{open[len(open)-1:]})
	same("8", block(string(clump[:32]), 1, 5), []byte("hello"))
	record(1, &rd{example(t, "## 9", 1)[64:229]})
	same("9", []byte(fmt.Sprint(arenas[hex.EncodeToString(key)].s, arenas[hex.EncodeToString(key)].directory)), []byte("262144 205"))
	head := string(example(t, "## 10", 1))
	addHead([]byte(head))
	same("10", []byte(fmt.Sprint(heads[head].name, signed(1, []byte(head[len(head)-64:]), []byte("TDFS head v1"), []byte(head[:len(head)-64])))), []byte("vtrue"))
	tag, anchorKey = hex.EncodeToString(derive("account tag", key)[:16]), derive("account anchor key", key)
	anchor(example(t, "## 11", 1))
	recovery, arenaKeys = derive("account recovery key", key), map[string][]byte{}
	anchor(example(t, "## 11", 2))
	same("11, keys", arenaKeys[epoch], count(112, 32))
	h, r := volumeRoot("", example(t, "### 14.1", 1))
	same("14.1", []byte(fmt.Sprintf("%s %d %x, %d left", h.name, h.seq, h.line, len(r.b))), []byte("v 1 010000000200000000000000, 11 left"))
	snapshot("v", t.TempDir(), nil, example(t, "### 14.2", 1))
	same("14.2", []byte(strings.Join(manifest, "|")), []byte("v/3/ d 0755 0:0 : 0.000000000 0000000000000001 0:0:0\n"))
	if damaged {
		t.Error("found damage in the examples")
	}
}
