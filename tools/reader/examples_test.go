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
	"lukechampine.com/blake3"
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
	ctr(key).XORKeyStream(stream, stream)
	same("2.5", stream[8:], example(t, "### 2.5", 1))
	rs := example(t, "### 2.6", 1)
	parts := [][]byte{rs[:4], rs[4:8], rs[8:12], make([]byte, 4), make([]byte, 4)}
	check(must(reedsolomon.New(3, 2, reedsolomon.WithCauchyMatrix())).Encode(parts))
	same("2.6", append(parts[3], parts[4]...), rs[12:])

	account = ed25519.NewKeyFromSeed(derive("account signing key", key)).Public().(ed25519.PublicKey)
	device := certificate(example(t, "### 3.1", 1))
	same("3.1", device, ed25519.NewKeyFromSeed(key).Public().(ed25519.PublicKey))
	same("3.1, issued", certificate(example(t, "### 3.1", 2)), ed25519.NewKeyFromSeed(count(0x40, 32)).Public().(ed25519.PublicKey))
	epoch := string(count(0, 16)) + "\x01\x00\x00\x00"
	domain(example(t, "### 3.2", 1))
	same("3.2", epochKeys[epoch][0], count(80, 32))
	recoveryKey, epochKeys = key, map[string][2][]byte{}
	unwrap(example(t, "### 3.3", 1))
	same("3.3", epochKeys[epoch][1], count(112, 32))
	scoreKeys = map[string][]byte{}
	fromKeyring(example(t, "### 3.4", 1))
	same("3.4", scoreKeys[epoch[:16]], count(16, 32))
	source = "x/catalog/00000001-0807060504030201-0000000000000002"
	log := example(t, "## 4", 1)
	recordLog(log)
	cut := 120 + 16 + int(le.Uint32(log[120:])) + 16
	day := must(gcm(derive("log key", epochKeys[epoch][1], log[56:88])).Open(nil, log[124:136], log[136:cut], append(make([]byte, 8), log[120:124]...)))
	same("4", append(day, log[cut:]...), []byte("\x08\x03\x00\x00\x00\x2a\x51\x00\x00"))
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
	same("7", arenas[string(key)].parts[2], fragment)
	delete(arenas, string(key))
	delete(index, string(clump[:32]))
	open := example(t, "## 8", 1)
	record(2, of(open[:len(open)-1]))
	record(2, of(open[len(open)-1:]))
	same("8", block(string(clump[:32]), 1, 5), []byte("hello"))
	same("9", []byte(fmt.Sprint(catalogArena(example(t, "## 9", 1)[64:229]))), []byte("[5 1 1 1 262144 1 205 9]"))
	head := example(t, "## 10", 1)
	addHead(head)
	end := len(head) - 64
	same("10", []byte(heads[string(head)].name), []byte("v"))
	if !ed25519.Verify(device, append([]byte("TDFS head v1"), head[:end]...), head[end:]) {
		t.Error("10: signature")
	}
	tag, anchorKey = hex.EncodeToString(derive("account tag", key)[:16]), derive("account anchor key", key)
	anchor(example(t, "## 11", 1))
	recoveryKey, epochKeys = derive("account recovery key", key), map[string][2][]byte{}
	keysObject(example(t, "## 11", 2))
	same("11, keys", epochKeys[epoch][1], count(112, 32))
	root := example(t, "### 14.1", 1)
	keyed := blake3.New(32, derive("score key", scoreKeys[epoch[:16]], []byte{5}))
	must(keyed.Write(root))
	score := string(keyed.Sum(nil))
	packed := append([]byte{5, 0, 0, 0, byte(len(root)), 0, 0, 0}, root...)
	header = append([]byte{0x20, 0, byte(len(packed) - 1), 0, 128}, make([]byte, 11)...)
	whole := gcm(derive("block key", epochKeys[epoch][0], []byte(score))).Seal(header[:16:16], header[4:16], packed, header[:4])
	index[score] = []place{func() ([]byte, string) { return whole, epoch }}
	output := t.TempDir()
	headOf(score, string(root[1:17])).restore(output)
	lines := ""
	visit = func(target string, entry []byte) { lines += manifestLine(output, target, entry) }
	snapshot(output+"/v", nil, example(t, "### 14.2", 1))
	same("14.2", []byte(lines), []byte("v/3/ d 0755 0:0 : 0.000000000 0000000000000001 0:0:0"))
	if damaged {
		t.Error("found damage in the examples")
	}
}

func headOf(root, volume string) head { return head{root: root, volume: volume, name: "v"} }

// CatalogArena reads an arena's record of a catalog (9), which restoring does not need: ordinal, state, k, m, slice, clumps, directory, sequence.
func catalogArena(b []byte) []uint64 {
	r := begin(b, "\x05")
	ordinal, state, _, k, m := r.u(4), r.u(1), r.u(1), r.u(1), r.u(1)
	_, slice, clumps, directory, _, sequence, _ := r.take(32+16+4+4), r.u(4), r.u(4), r.u(4), r.u(8), r.u(8), r.u(4)
	r.list(k+m, func() { r.take(32 + 2) }).end()
	return []uint64{ordinal, state, k, m, slice, clumps, directory, sequence}
}

// Anchor reads an anchor (11), which restoring does not need where there are keys objects and catalogs.
func anchor(b []byte) {
	r := begin(b, "TDFSANC1")
	by, _, nonce := hex.EncodeToString(r.take(16)), r.u(8), r.take(12)
	body := must(gcm(anchorKey).Open(nil, nonce, r.Bytes(), b[:32]))
	r = of(body)
	owner, writer, _, signer := r.s(32), r.u(4), r.u(8), ed25519.PublicKey{}
	strings := func(use func(b []byte)) { r.list(r.u(2), func() { use(r.take(r.u(4))) }) }
	strings(func(b []byte) {
		if key := certificate(b); uint64(le.Uint32(b[40:])) == writer {
			signer = key
		}
	})
	strings(unwrap)
	r.list(r.u(2), func() { _, _, _ = r.take(16), r.short(), r.short() }) // holders
	strings(addHead)
	r.take(r.u(2) * (1 + 4 + 8 + 8 + 32 + 8)) // logs
	message := bytes.Join([][]byte{[]byte("TDFS anchor v1"), b[:32], r.before(body)}, nil)
	need(by == tag && owner == string(account) && ed25519.Verify(signer, message, r.take(64)), "signature")
	r.end()
}

// A keys object counts only with the signature of the one device that it names, which the account certified (11).
func TestKeysObjectsThatAreNotSignedAsThePageSays(t *testing.T) {
	entropy, seed := count(0, 32), count(0, 32)
	accountKey := ed25519.NewKeyFromSeed(derive("account signing key", entropy))
	account, recoveryKey = accountKey.Public().(ed25519.PublicKey), derive("account recovery key", entropy)
	tag, anchorKey = hex.EncodeToString(derive("account tag", entropy)[:16]), derive("account anchor key", entropy)
	good := example(t, "## 11", 2)
	body := must(gcm(anchorKey).Open(nil, good[32:44], good[44:], good[:32]))
	first := body[2 : 6+le.Uint32(body[2:])] // the certificate with its length
	wraps := body[2+len(first) : len(body)-64]
	certify := func(number byte, device, by ed25519.PrivateKey) []byte {
		c := append([]byte("TDFSCRT1"), account...)
		c = append(append(c, number, 0, 0, 0), device.Public().(ed25519.PublicKey)...)
		c = append(append(c, make([]byte, 32+8)...), 1, 'd')
		c = append(c, ed25519.Sign(by, c)...)
		return append(le.AppendUint32(nil, uint32(len(c))), c...)
	}
	other := ed25519.NewKeyFromSeed(count(100, 32))
	certificate(certify(2, other, accountKey)[4:]) // the account knows it, but the object does not name it
	opens := func(count uint16, certificates [][]byte, context string, by ed25519.PrivateKey) (ok bool) {
		epochKeys = map[string][2][]byte{}
		defer func() {
			recover()
			ok = len(epochKeys) > 0
		}()
		b := append(append(le.AppendUint16(nil, count), bytes.Join(certificates, nil)...), wraps...)
		b = append(b, ed25519.Sign(by, bytes.Join([][]byte{[]byte(context), good[:32], b}, nil))...)
		keysObject(gcm(anchorKey).Seal(append([]byte{}, good[:44]...), good[32:44], b, good[:32]))
		return
	}
	device := ed25519.NewKeyFromSeed(seed)
	for _, c := range []struct {
		what         string
		count        uint16
		certificates [][]byte
		context      string
		by           ed25519.PrivateKey
		expected     bool
	}{
		{"signed by the device that it names", 1, [][]byte{first}, "TDFS keys v1", device, true},
		{"signed by another device of the account", 1, [][]byte{first}, "TDFS keys v1", other, false},
		{"signed by the account itself", 1, [][]byte{first}, "TDFS keys v1", accountKey, false},
		{"signed as an anchor", 1, [][]byte{first}, "TDFS anchor v1", device, false},
		{"with the certificates of two devices", 2, [][]byte{first, certify(2, other, accountKey)}, "TDFS keys v1", device, false},
		{"with one certificate that says there are two", 2, [][]byte{first}, "TDFS keys v1", device, false},
		{"with none", 0, nil, "TDFS keys v1", device, false},
		{"by a device that certified itself", 1, [][]byte{certify(1, device, device)}, "TDFS keys v1", device, false},
		{"by a device that the account certified", 1, [][]byte{certify(2, other, accountKey)}, "TDFS keys v1", other, true},
	} {
		if found := opens(c.count, c.certificates, c.context, c.by); found != c.expected {
			t.Errorf("a keys object %s: opened %v, expected %v", c.what, found, c.expected)
		}
	}
}
