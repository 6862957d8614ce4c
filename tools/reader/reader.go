// Reader restores a TDFS store from its 24 words (or a keyring) and its holders' folders. It is docs/format.md written down once more by someone who
// saw that page and none of the other code; numbers in brackets are its sections. It is slow, changes nothing in a store, and lists what it cannot read:
// damage panics, is listed by the nearest try, and what can be read without it is.
package main

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/sha256"
	_ "embed"
	"encoding/binary"
	"fmt"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"runtime/debug"
	"sort"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/klauspost/reedsolomon"
	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/chacha20poly1305"
	"golang.org/x/crypto/curve25519"
	"golang.org/x/sys/unix"
	"lukechampine.com/blake3"
)

type (
	rd    struct{ b []byte }                  // what is left of a structure
	place func() (clump []byte, epoch string) // of a block; an epoch is its domain and number, as an arena's header has them
	arena struct {
		id, epoch                 string
		k, m, s, count, directory uint64
		names                     []string // of the fragments, where a catalog tells them
		parts                     [][]byte // the fragments; nil: no file of them is there
	}
	head struct { // (10)
		volume, line, root, name string // line: device and incarnation
		seq                      uint64
		seen                     map[string]uint64 // by line
		rebuilt                  bool
	}
)

var (
	//go:embed english.txt
	english                         string // BIP-39's list
	account, anchorKey, recovery    []byte
	tag, source                     string // source: the file that is read
	devices                         = map[uint64][]ed25519.PublicKey{}
	scoreKeys, blockKeys, arenaKeys = map[string][]byte{}, map[string][]byte{}, map[string][]byte{} // by domain, epoch, epoch
	arenas, index, roots            = map[string]*arena{}, map[string][]place{}, []string{}         // by id in hexadecimal; by score; scores of type 5
	heads, logs, parted             = map[string]head{}, map[string][]byte{}, map[string]bool{}     // by bytes; valid bytes by name; lines of two folders (4)
	links, made                     = map[uint64][]byte{}, map[uint64]string{}                      // of the snapshot that is restored
	once, damaged                   = map[string]bool{}, false
	manifest, image                 = []string{}, []byte{} // image: the one read last
	imageOf, le                     = &arena{}, binary.LittleEndian
	nodes                           = map[uint64]uint32{4: unix.S_IFIFO, 5: unix.S_IFCHR, 6: unix.S_IFBLK, 7: unix.S_IFSOCK}
	unzstd                          = must(zstd.NewReader(nil, zstd.WithDecoderMaxMemory(8<<20), zstd.WithDecoderConcurrency(1)))
)

func when(condition bool, do func()) {
	if condition {
		do()
	}
}

func try(what string, do func()) (ok bool) {
	defer func() { e := recover(); when(e != nil, func() { problem(what, e) }) }()
	do()
	return true
}

func problem(what string, e any)             { damaged = true; fmt.Fprintf(os.Stderr, "%s: %v\n", what, e) }
func need(ok bool, f string, a ...any)       { when(!ok, func() { panic(fmt.Sprintf(f, a...)) }) }
func set(name string, err error)             { when(err != nil, func() { fmt.Fprintln(os.Stderr, name, err) }) } // that it is not, is no damage
func first(id string) bool                   { is := !once[id]; once[id] = true; return is }
func pick[T any](c bool, yes, no func() T) T { return map[bool]func() T{true: yes, false: no}[c]() }
func check(err error)                        { need(err == nil, "%v", err) }
func must[T any](v T, err error) T           { check(err); return v }

func begin(b []byte, expected string) *rd { // a structure's magic or version
	need(string(b[:len(expected)]) == expected, "begins with %q, expected %q", b[:len(expected)], expected)
	return &rd{b[len(expected):]}
}

// Fields (1, 12.1). What is cut short panics by itself.
func (r *rd) take(n uint64) []byte   { x := r.b; r.b = r.b[n:]; return x[:n:n] }
func (r *rd) u(n uint64) uint64      { return le.Uint64(append(r.take(n), make([]byte, 8)...)) }
func (r *rd) s(n uint64) string      { return string(r.take(n)) }
func (r *rd) short() string          { return r.s(r.u(1)) }
func (r *rd) counted() []byte        { return r.take(r.varint()) }
func (r *rd) signed() int64          { v := r.varint(); return int64(v>>1) ^ -int64(v&1) }
func (r *rd) before(b []byte) []byte { return b[:len(b)-len(r.b)] } // what was read of b
func (r *rd) end()                   { need(len(r.b) == 0, "%d bytes too many", len(r.b)) }

func (r *rd) varint() uint64 {
	v, n := binary.Uvarint(r.b)
	r.take(uint64(n - 1))
	need(r.u(1) > 0 || n == 1, "a varint that is longer than need be")
	return v
}

func (r *rd) list(n uint64, item func()) *rd {
	for ; n > 0; n-- {
		item()
	}
	return r
}

func hash(key, b []byte) string  { h := blake3.New(32, key); h.Write(b); return string(h.Sum(nil)) }
func sum(b []byte) string        { return hash(nil, b) }
func gcm(key []byte) cipher.AEAD { return must(cipher.NewGCM(must(aes.NewCipher(key)))) }

func ctr(key []byte, from uint64) cipher.Stream { // (2.5)
	return cipher.NewCTR(must(aes.NewCipher(key)), binary.BigEndian.AppendUint64(make([]byte, 8), from/16))
}

func derive(context string, parts ...[]byte) []byte { // (3)
	key := make([]byte, 32)
	blake3.DeriveKey(key, "tdfs 2026-11 "+context+" v1", bytes.Join(parts, nil))
	return key
}

func dare(key, m []byte) (plain []byte) { // (2.4)
	for number, last, first := uint32(0), false, m; !last; number++ {
		n := int(le.Uint16(m[2:])) + 33
		last = len(m) == n
		need(m[0] == 0x20 && m[1] == first[1] && m[1] < 2 && (last || n == 65568 && len(m) > n), "DARE: header of package %d", number)
		need(last == (m[4] > 127) && m[4]&127 == first[4]&127 && bytes.Equal(m[5:16], first[5:16]), "DARE: nonce of package %d", number)
		nonce := append([]byte{}, m[4:16]...)
		le.PutUint32(nonce[8:], le.Uint32(nonce[8:])^number)
		aead := []cipher.AEAD{gcm(key), must(chacha20poly1305.New(key))}[m[1]]
		plain, m = must(aead.Open(plain, nonce, m[16:n], m[:4])), m[n:]
	}
	return
}

func fromWords(text []byte) { // (3.1)
	words, list, number := strings.Fields(strings.ToLower(string(text))), strings.Fields(english), new(big.Int)
	for _, w := range words {
		n := sort.SearchStrings(list, w)
		need(n < len(list) && (list[n] == w || len(w) >= 4 && strings.HasPrefix(list[n], w)), "%q is not a word of the list", w)
		number.Or(number.Lsh(number, 11), big.NewInt(int64(n)))
	}
	need(len(words) == 24, "%d words, expected 24", len(words))
	bits := number.FillBytes(make([]byte, 33))
	need(sha256.Sum256(bits[:32])[0] == bits[32], "the words' checksum does not fit")
	account = ed25519.NewKeyFromSeed(derive("account signing key", bits[:32])).Public().(ed25519.PublicKey)
	recovery, anchorKey = derive("account recovery key", bits[:32]), derive("account anchor key", bits[:32])
	tag = fmt.Sprintf("%x", derive("account tag", bits[:32])[:16])
}

func fromKeyring(b []byte) { // (3.4)
	r := begin(b, "TDFSKEY1")
	mode, passes, memory, salt := r.u(4), r.u(4), r.u(4), r.take(16)
	message, unlock := r.take(r.u(4)), make([]byte, 32)
	need(sum(r.before(b)) == r.s(32) && mode < 2 && passes <= 16 && memory <= 1<<20, "the keyring is damaged")
	passphrase := func() []byte { return bytes.TrimSuffix(must(io.ReadAll(os.Stdin)), []byte("\n")) }
	when(mode == 1, func() { unlock = argon2.IDKey(passphrase(), salt, uint32(passes), uint32(memory), 1, 32) })
	r = &rd{dare(derive("keyring", unlock, b[:36]), message)}
	account, _, tag, anchorKey, _, _ = r.take(32), r.take(32), fmt.Sprintf("%x", r.take(16)), r.take(32), r.take(4+32+32+32), r.short()
	certificate(r.take(r.u(2)))
	r.list(r.u(4), func() { domain(r.take(r.u(4))) }).end()
}

func certificate(b []byte) { // (3.1)
	r := begin(b, "TDFSCRT1")
	by, device, key, _, _ := r.s(32), r.u(4), r.take(32), r.take(32+8), r.short()
	need(by == string(account) && ed25519.Verify(account, r.before(b), r.take(64)), "certificate of device %d: signature", device)
	devices[device] = append(devices[device], key)
	r.end()
}

func signed(device uint64, signature []byte, parts ...[]byte) (by bool) {
	for _, key := range devices[device] {
		by = by || ed25519.Verify(key, bytes.Join(parts, nil), signature)
	}
	return
}

func domain(b []byte) { // (3.2)
	r := begin(b, "\x01")
	_, id := r.take(3), r.s(16)
	scoreKeys[id], _ = r.take(32), r.take(32)
	r.list(r.u(4), func() { epoch := id + r.s(4); blockKeys[epoch], arenaKeys[epoch] = r.take(32), r.take(32) }).end()
}

func unwrap(b []byte) { // (3.3)
	if r := begin(b, "TDFSWRP1"); recovery != nil { // a keyring has the domains themselves
		ephemeral, public := r.take(32), must(curve25519.X25519(recovery, curve25519.Basepoint))
		domain(dare(derive("key wrap", must(curve25519.X25519(recovery, ephemeral)), ephemeral, public), r.b))
	}
}

func anchor(b []byte) { // or a keys object (11)
	r, context, device := &rd{b}, "TDFS keys v1", uint64(2+4+40) // where the writer's number stands
	magic, by, _, nonce := r.s(8), fmt.Sprintf("%x", r.take(16)), r.u(8), r.take(12)
	full := magic == "TDFSANC1"
	need((full || magic == "TDFSDOM1") && by == tag, "magic %q, account %s", magic, by)
	body := must(gcm(anchorKey).Open(nil, nonce, r.b, b[:32]))
	end, strings := len(body)-64, func(use func(b []byte)) { r.list(r.u(2), func() { use(r.take(r.u(4))) }) }
	r = &rd{body[:end]}
	need(!full || r.s(32) == string(account), "another account's")
	when(full, func() { context, device, _ = "TDFS anchor v1", 32, r.take(4+8) })
	strings(certificate)
	need(signed((&rd{body[device:]}).u(4), body[end:], []byte(context), b[:32], body[:end]), "signature")
	strings(unwrap)
	when(full, func() { r.list(r.u(2), func() { r.take(16); r.short(); r.short() }) }) // holders
	when(full, func() { strings(addHead); r.take(r.u(2) * (1 + 4 + 8 + 8 + 32 + 8)) }) // heads, logs
	r.end()
}

func addHead(b []byte) { // (10)
	r, h, domain := begin(b[:len(b)-64], "\x01"), head{seen: map[string]uint64{}}, ""
	h.volume, domain, h.line, h.seq, _, h.root, _, h.name = r.s(16), r.s(16), r.s(4+8), r.u(8), r.u(8), r.s(32), r.take(32), r.short()
	r.list(r.u(1), func() { line := r.s(4 + 8); h.seen[line] = r.u(8) }).end()
	when(scoreKeys[domain] != nil, func() { heads[string(b)] = h }) // the other volumes are burnable ones
}

func recordLog(b []byte) { // a copy (4)
	r := begin(b, "TDFSLOG1")
	kind, epoch, id, line, number, log := r.u(4), r.s(4), r.s(16), r.s(16), r.u(8), r.take(32)
	name := fmt.Sprintf("/%s/%08x-%016x-%016x", map[uint64]string{1: "catalog", 2: "journal"}[kind], (&rd{b[32:]}).u(4), (&rd{b[40:]}).u(8), number)
	need(sum(r.before(b)) == r.s(32) && strings.HasSuffix(source, name) && arenaKeys[id+epoch] != nil, "header of the log %s, of epoch %x", name, id+epoch)
	aead := gcm(derive("log key", arenaKeys[id+epoch], log))
	for n, body, err := uint64(0), []byte{}, error(nil); err == nil && len(r.b) > 32; n++ { // up to a torn tail
		size := 32 + (&rd{r.b}).u(4)
		when(size > uint64(len(r.b)), func() { size = uint64(len(r.b)) })
		body, err = aead.Open(nil, r.b[4:16], r.b[16:size], append(le.AppendUint64(nil, n), r.b[:4]...))
		when(err == nil, func() { r.take(size); record(kind, &rd{body}) })
	}
	valid, other := r.before(b), logs[name]
	when(!bytes.HasPrefix(valid, other) && !bytes.HasPrefix(other, valid), func() { parted[line[:4]+line[8:]] = true })
	when(len(valid) > len(other), func() { logs[name] = valid })
}

func record(log uint64, r *rd) { // of a catalog (9), in which what was forgotten since does no harm, or of a journal (8)
	kind := r.u(1)
	need(log == 1 && (kind > 0 && kind <= 10 || kind >= 128) || log == 2 && (kind == 1 || kind == 2), "a record of kind %d", kind)
	when(log == 1 && kind == 7, func() { addHead(r.b) })
	when(log == 1 && kind == 10, func() { certificate(r.b) })
	when(log == 1 && kind == 5, func() {
		_, a := r.take(4+1+1), &arena{k: r.u(1), m: r.u(1), id: r.s(32), epoch: r.s(16 + 4)}
		_, a.s, a.count, a.directory, _ = r.u(4), r.u(4), r.u(4), r.u(4), r.take(8+8+4)
		r.list(a.k+a.m, func() { a.names = append(a.names, r.s(32 + 2)[:32]) }).end()
		arenas[fmt.Sprintf("%x", a.id)] = a
	})
	when(log == 2 && kind == 1, func() {
		epoch, kind, _, score := r.s(16+4), r.u(3)>>8, r.u(8), r.s(32)
		add(score, kind, epoch, func() []byte { return r.b })
	})
}

func add(score string, kind uint64, epoch string, clump func() []byte) {
	index[score] = append(index[score], func() ([]byte, string) { return clump(), epoch })
	when(blockKeys[epoch] != nil && kind == 5, func() { roots = append(roots, score) })
}

func fragmentFile(b []byte) { // (7)
	id := filepath.Base(source)
	for _, at := range []int{0, bytes.LastIndex(b, []byte("TDFSFRG1"))} { // the record stands twice
		try(source, func() {
			r := begin(b[at:], "TDFSFRG1")
			a, n := &arena{id: r.s(32), k: r.u(1), m: r.u(1)}, r.u(2)
			a.s = r.u(4)
			t := &rd{r.take(44 * n)}
			need(sum(r.before(b[at:])) == r.s(32) && fmt.Sprintf("%x", a.id) == id, "the record of arena %x is damaged or another's", a.id)
			need(a.k > 0 && a.k+a.m <= 256 && a.s > 0 && a.s%4096 == 0 && a.k*a.s <= 17821696, "the record's numbers")
			when(arenas[id] == nil, func() { arenas[id] = a })
			when(arenas[id].parts == nil, func() { arenas[id].parts = make([][]byte, a.k+a.m) })
			t.list(n, func() {
				i, fragment, name := t.u(4), b[t.u(4):][:t.u(4)], t.s(32)
				good := sum(fragment) == name && (arenas[id].names == nil || arenas[id].names[i] == name)
				when(good, func() { arenas[id].parts[i] = fragment })
				when(!good, func() { problem(source, fmt.Sprintf("fragment %d is damaged", i)) })
			})
		})
	}
}

func (a *arena) clear(from, length uint64) []byte { // bytes of the image, rebuilt (2.6) and decrypted (2.5)
	when(imageOf != a, func() {
		parts := append([][]byte{}, a.parts...)
		err := must(reedsolomon.New(int(a.k), int(a.m), reedsolomon.WithCauchyMatrix())).ReconstructData(parts)
		when(err != nil && first(a.id), func() { problem(fmt.Sprintf("arena %x", a.id), err) })
		for i, part := range parts[:a.k] {
			when(part == nil, func() { parts[i] = make([]byte, a.s) }) // what is made of it does not pass the checks
		}
		imageOf, image = a, bytes.Join(parts[:a.k], nil)
	})
	b := append(make([]byte, from%16), image[from:][:length]...)
	ctr(derive("arena key", arenaKeys[a.epoch], []byte(a.id)), from).XORKeyStream(b, b)
	return b[from%16:]
}

func (a *arena) open() { // its clumps into the index (6)
	epoch, directorySum := a.epoch, ""
	for a.epoch = range arenaKeys {
		if h := a.clear(0, 160); sum(h[:128]) == string(h[128:]) {
			r := begin(h, "TDFSARN1")
			need(r.u(1) == a.k && r.u(1) == a.m && r.u(2) < 256 && r.u(4) == a.s && r.s(32) == a.id, "header of another arena")
			epoch, _, a.count, a.directory, _, directorySum = r.s(16+4), r.u(4), r.u(4), r.u(4), r.take(16), r.s(32)
		}
	}
	a.epoch = epoch // the header's, else the catalog's; without a key it is another account's or a burnt domain's
	r := &rd{a.clear(a.directory, 48*a.count)}
	need(directorySum == "" || directorySum == sum(r.b), "directory's checksum")
	r.list(a.count, func() {
		score, kind, from, length, _ := r.s(32), r.u(4), r.u(4), r.u(4), r.u(4)
		add(score, kind, epoch, func() []byte { return a.clear(from, length) })
	})
}

func block(score string, kind byte, size uint64) (plain []byte) { // (5); size 0: not known
	found := false
	for _, p := range index[score] {
		found = found || try(fmt.Sprintf("block %x", score[:8]), func() {
			clump, epoch := p()
			r := begin(dare(derive("block key", blockKeys[epoch], []byte(score)), clump), string([]byte{kind}))
			codec, length := r.u(3), r.u(4)
			plain = r.b
			when(codec == 1, func() { plain = must(unzstd.DecodeAll(r.b, nil)) })
			found := hash(derive("score key", scoreKeys[epoch[:16]], []byte{kind}), plain)
			need(codec < 2 && uint64(len(plain)) == length && found == score, "not what its score names, but %x", found)
		})
	}
	need(found && (size == 0 || uint64(len(plain)) == size), "block %x of %d bytes cannot be read", score[:8], size)
	return
}

func table(r *rd, do func(key, value []byte)) { tableBelow(r, r.u(1), nil, do) } // (12.4)

func tableBelow(r *rd, depth uint64, first []byte, do func(key, value []byte)) (entries uint64) { // of so many levels of blocks (12.2, 12.3)
	need(depth <= 16, "table of depth %d", depth)
	b, level, said, key := []byte{}, byte(0), uint64(0), []byte{}
	when(depth == 0, func() { b = r.counted() })
	when(len(b) == 0, func() { b = []byte{1, 0, 0} }) // an empty table
	when(depth > 0, func() {
		score, kind := r.s(32), map[bool]byte{true: 3, false: 4}[depth == 1]
		level, said, b = byte(depth-1), r.varint(), block(score, kind, r.varint())
	})
	r = begin(b, string([]byte{1, level}))
	r.list(r.varint(), func() {
		next := append(append([]byte{}, key[:r.varint()]...), r.counted()...)
		need(bytes.Compare(key, next) < 0 && (first == nil || len(key) > 0 || bytes.Equal(first, next)), "table keys that do not ascend")
		key = next
		value := r.counted()
		when(level == 0, func() { do(next, value); entries++ })
		below := func() { entries += tableBelow(&rd{value}, depth-1, next, do) }
		when(level > 0, func() { try(fmt.Sprintf("table from %q", next), below) })
	}).end()
	need(depth == 0 || entries == said, "a table of %d entries, expected %d", entries, said)
	return
}

func attributes(r *rd) (all [][2]string) { // (13.4)
	value := func(size uint64) []byte {
		return pick(size == 0, r.counted, func() []byte { return block(r.s(32), 1, size) })
	}
	r = &rd{value(r.varint())}
	r.list(r.varint(), func() {
		name, kind, size := r.counted(), r.u(1), uint64(0)
		when(kind > 0, func() { size = r.varint() })
		all = append(all, [2]string{string(name), string(value(size))})
	}).end()
	return
}

func content(r *rd, emit func(length uint64, data []byte)) { // (13.2); data nil: a hole
	size, kind, depth, b := r.varint(), r.u(1)&15, uint64(1), []byte{}
	when(kind == 0, func() { emit(size, r.take(size)) })
	when(kind == 1, func() { b = r.counted() })
	when(kind == 2, func() { d, score := r.u(1), r.s(32); depth, b = d, block(score, 2, r.varint()) })
	need(kind == 0 || extents(b, depth-1, emit) == size, "content of kind %d, or not of %d bytes", kind, size)
}

func extents(b []byte, level uint64, emit func(length uint64, data []byte)) (total uint64) { // (13.3)
	r := begin(b, string([]byte{1, byte(level)}))
	r.list(r.varint(), func() {
		length, kind, skip := r.varint(), uint64(4), uint64(0)
		when(level == 0, func() { length, kind = length>>2, length&3 })
		size := length
		when(kind == 2, func() { skip = r.varint() })
		when(kind == 2 || kind == 4, func() { size = r.varint() })
		when(kind == 0, func() { emit(length, nil) })
		when(kind == 1 || kind == 2, func() { emit(length, block(r.s(32), 1, size)[skip:][:length]) })
		need(kind < 3 || kind == 4 && extents(block(r.s(32), 2, size), level-1, emit) == length, "extent of kind %d, or not of %d bytes", kind, length)
		total += length
	}).end()
	return
}

func volumeRoot(score string, b []byte) (h head, r *rd) { // (14.1)
	r = begin(b, "\x01")
	line := func() string { return string(le.AppendUint32(nil, uint32(r.varint()))) + r.s(8) }
	h = head{volume: r.s(16), root: score, name: string(r.counted()), seen: map[string]uint64{}, rebuilt: true}
	h.line, h.seq, _, _ = line(), r.varint(), r.signed(), r.take(32)
	r.list(r.varint(), func() { l := line(); h.seen[l] = r.varint() })
	return
}

func (h head) restore(output string) { // the volume's snapshots (14.1)
	root, r := volumeRoot(h.root, block(h.root, 5, 0))
	need(strings.HasPrefix(h.volume, root.volume), "root of another volume")
	_, _, _, _, _ = r.u(1), r.varint(), r.u(1), r.varint(), r.varint()
	r.list(r.varint(), func() { r.varint(); r.varint() }) // devices
	r.counted()
	table(r, func(_, _ []byte) {}) // the active tree's links
	name := strings.ReplaceAll(escape(h.name, "/"), "..", "%2E%2E")
	table(r, func(key, value []byte) {
		restore := func() { snapshot(name, output, key, value) }
		when(first(h.volume+name+string(key)), func() { try(fmt.Sprintf("%s, %x", name, key), restore) })
	})
	r.end()
}

func snapshot(volume, output string, key, value []byte) { // (14.2)
	r := begin(value, "\x01")
	flags, name, host, program := r.u(1), fmt.Sprintf("%s/%d", volume, r.varint()), r.counted(), r.counted()
	r.list(r.varint(), func() { r.counted() }).list(r.varint(), func() { r.counted() }) // labels, sources
	fmt.Fprintf(os.Stderr, "%s: flags %d, by %q on %q, %d torn, %d vanished, %d unreadable\n", name, flags, program, host, r.varint(), r.varint(), r.varint())
	root := r.counted()
	links, made = map[uint64][]byte{}, map[uint64]string{}
	table(r, func(id, record []byte) { links[binary.BigEndian.Uint64(id)] = record }) // (13.5)
	r.end()
	_, err := os.Lstat(filepath.Join(output, name))
	when(err == nil, func() { name += fmt.Sprintf("-%x", key[8:]) }) // lines that parted give a number twice
	check(os.MkdirAll(filepath.Join(output, volume), 0755))
	restore(name+"/", filepath.Join(output, name), root)
}

func escape(s, more string) (out string) { // for the manifest and the folders' names
	for _, c := range []byte(s) {
		plain := c > 0x20 && c < 0x7f && strings.IndexByte("%"+more, c) < 0
		out += fmt.Sprintf(map[bool]string{true: "%c", false: "%%%02X"}[plain], c)
	}
	return
}

func restore(shown, target string, b []byte) { // an entry (13.1)
	r, what := begin(b, "\x01"), "-"
	kind, flags, id := r.u(1), r.varint(), r.varint()
	if flags == 1 { // a link: its record says the rest, and is none in turn
		need(len(links[id]) > 2 && links[id][1] == byte(kind) && kind != 2 && links[id][2]&1 == 0, "a link to file %x", id)
		restore(shown, target, links[id])
		when(made[id] != "", func() { os.Remove(target); check(os.Link(made[id], target)) })
		made[id] = target
		return
	}
	need(kind >= 1 && kind <= 7 && flags < 64 && flags&1 == 0, "entry of type %d, flags %d", kind, flags)
	mode, uid, gid, sec, nano := r.varint(), r.varint(), r.varint(), r.signed(), r.varint()
	owner, group, xattrs, count, major, minor := "", "", [][2]string{}, uint64(1), uint64(0), uint64(0)
	when(flags&16 != 0, func() { count = r.varint() })
	when(flags&8 != 0, func() { owner, group = escape(string(r.counted()), ":"), escape(string(r.counted()), ":") })
	when(flags&4 != 0, func() { xattrs = attributes(r) })
	when(flags&32 != 0, func() { r.u(1) })
	when(kind == 1, func() {
		f := must(os.OpenFile(target, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0600))
		defer f.Close()
		at, holes, h := uint64(0), []string{}, blake3.New(32, nil)
		content(r, func(n uint64, data []byte) {
			when(data == nil, func() { holes = append(holes, fmt.Sprintf("%d+%d", at, n)) })
			must(f.WriteAt(data, int64(at)))
			at += n
		})
		check(f.Truncate(int64(at)))
		must(io.Copy(h, f))
		when(len(holes) == 0, func() { holes = []string{"-"} })
		what = fmt.Sprintf("%d:%x:%d:%s", at, h.Sum(nil), count, strings.Join(holes, ","))
	})
	when(kind == 2, func() {
		check(os.Mkdir(target, 0700))
		table(r, func(key, value []byte) {
			n, below := string(key), strings.TrimSuffix(shown, "/")+"/"+escape(string(key), "")
			bad := len(n) > 255 || n == "." || n == ".." || strings.ContainsAny(n, "/\x00")
			try(below, func() { need(!bad, "a name that is none"); restore(below, target+"/"+n, value) })
		})
		what = fmt.Sprintf("%d:%d:%d", r.varint(), r.varint(), r.varint())
	})
	when(kind == 3, func() { what = string(r.counted()); set(shown, os.Symlink(what, target)); what = escape(what, "") })
	when(kind == 5 || kind == 6, func() { major, minor = r.varint(), r.varint(); what = fmt.Sprintf("%d:%d", major, minor) })
	when(kind > 3, func() { set(shown, unix.Mknod(target, nodes[kind], int(unix.Mkdev(uint32(major), uint32(minor))))) })
	r.end()
	line := fmt.Sprintf("%s %c %04o %d:%d %s:%s %d.%09d %016x %s", shown, " fdlpcbs"[kind], mode, uid, gid, owner, group, sec, nano, id, what)
	when(os.Lchown(target, int(uid), int(gid)) != nil, func() { mode &= 01777 }) // by the numbers, where one may
	for _, x := range xattrs {
		line += fmt.Sprintf(" %s=%x", escape(x[0], "="), x[1])
		set(shown, unix.Lsetxattr(target, x[0], []byte(x[1]), 0))
	}
	manifest = append(manifest, line+"\n")
	when(kind != 3, func() { set(shown, unix.Chmod(target, uint32(mode))) })
	times := []unix.Timespec{{Sec: sec, Nsec: int64(nano)}, {Sec: sec, Nsec: int64(nano)}}
	set(shown, unix.UtimesNanoAt(unix.AT_FDCWD, target, times, unix.AT_SYMLINK_NOFOLLOW))
}

func main() {
	debug.SetPanicOnFault(true) // a disk that cannot be read is damage too
	try("reader", func() {
		need(len(os.Args) > 3, "expected WORDS-FILE HOLDER... OUTPUT, or KEYRING-FILE HOLDER... OUTPUT <PASSPHRASE; the manifest goes to stdout")
		readAll(must(os.ReadFile(os.Args[1])), os.Args[2:len(os.Args)-1])
		for _, h := range heads {
			superseded := false
			for _, o := range heads {
				one := o.volume == h.volume && (h.rebuilt || !o.rebuilt) && !parted[h.line]
				superseded = superseded || one && (h.rebuilt != o.rebuilt || o.line == h.line && o.seq > h.seq || o.seen[h.line] >= h.seq)
			}
			when(!superseded, func() { try("volume "+escape(h.name, ""), func() { h.restore(os.Args[len(os.Args)-1]) }) })
		}
		need(len(heads) > 0, "found no volume")
	})
	sort.Strings(manifest)
	fmt.Print(strings.Join(manifest, ""))
	when(damaged, func() { os.Exit(1) })
}

func readAll(keys []byte, holders []string) { // in the order of 11.1
	uses := []func([]byte){anchor, anchor, recordLog, recordLog, fragmentFile}
	when(bytes.HasPrefix(keys, []byte("TDFSKEY")), func() { fromKeyring(keys) })
	when(account == nil, func() { fromWords(keys) })
	for i, pattern := range []string{"anchor/" + tag + "-*", "keys/" + tag + "-*", "catalog/*", "journal/*", "../fragments/*/*"} {
		for _, holder := range holders {
			for _, source = range must(filepath.Glob(filepath.Join(holder, "objects", pattern))) {
				try(source, func() {
					f := must(os.OpenFile(source, unix.O_NONBLOCK, 0))
					defer f.Close()
					uses[i](must(unix.Mmap(int(f.Fd()), 0, int(must(f.Stat()).Size()), unix.PROT_READ, unix.MAP_PRIVATE)))
				})
			}
		}
	}
	for b, h := range heads { // a certificate's word; zeros: by what holds it
		body, signature, zeros := []byte(b[:len(b)-64]), []byte(b[len(b)-64:]), make([]byte, 64)
		good := bytes.Equal(signature, zeros) || signed((&rd{[]byte(h.line)}).u(4), signature, []byte("TDFS head v1"), body)
		when(!good, func() { h.name, h.volume = h.name+" (unsigned)", h.volume+b }) // so nothing is joined with it
		heads[b] = h
	}
	for id, a := range arenas {
		when(a.parts != nil, func() { try("arena "+id, a.open) })
	}
	for _, score := range roots { // they count for volumes of which no other head is left
		try("volume root", func() { heads[score], _ = volumeRoot(score, block(score, 5, 0)) })
	}
}
